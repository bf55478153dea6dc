//! `coracle image`: the images on this machine.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::control::{self, Ask, ControlError};
use crate::output::{Output, print, progress};
use crate::paths::Paths;
use crate::show;

/// What names standard input.
const STDIN: &str = "-";

/// What is done with images.
#[derive(Subcommand)]
pub enum Image {
    /// Load docker or OCI archives (docker save, buildah, `make images`)
    Load {
        /// The archives; `-` for one on standard input: docker save app:1 | coracle image load -
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Pull an image from its registry
    Pull {
        /// As in a pod: redis:7
        reference: String,
    },
    /// Give an image a further name
    Tag {
        /// As in a pod: redis:7; or its ID
        image: String,
        /// As in a pod: registry.example.com/redis:7
        #[arg(value_name = "NAME")]
        further: String,
    },
    /// List the images
    #[command(visible_alias = "list")]
    Ls {
        /// Print JSON instead of text
        #[arg(long, short, value_enum)]
        output: Option<Output>,
    },
    /// Remove images, or further names of them
    #[command(visible_alias = "remove")]
    Rm {
        /// As in a pod: redis:7; or an ID
        #[arg(required = true, value_name = "REFERENCE")]
        references: Vec<String>,
    },
    /// Remove images that have no name and that no pod runs
    Prune {
        /// Those that have a name too
        #[arg(long, short)]
        all: bool,
    },
}

/// Why a command about images failed.
#[derive(Debug, thiserror::Error)]
pub enum ImageCommandError {
    /// The engine could not be asked, or refused.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// What is to be read is what somebody types.
    #[error(
        "standard input is a terminal: write for example `docker save app:1 | coracle image load -`"
    )]
    Terminal,
    /// What comes on standard input cannot be kept.
    #[error("cannot keep standard input in {}: {source}", .path.display())]
    Spool {
        /// In which directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Files that hold no image; the others are loaded.
    #[error("not loaded: {0}")]
    NotLoaded(String),
}

/// Carries the command out.
///
/// # Errors
/// What the engine says; of several files and names, what it says of those that it refused.
pub fn carry_out(paths: &Paths, image: Image) -> Result<(), ImageCommandError> {
    let about = |question| ask_all(paths, [(String::new(), question)]);
    let refused = match image {
        Image::Load { files } => {
            let archives = files.iter().map(|file| Archive::open(paths, file));
            let archives: Vec<Archive> = archives.collect::<Result<_, _>>()?;
            let question = |it: &Archive| (it.shown(), Ask::ImageLoad { file: it.path.clone() });
            let refused = ask_all(paths, archives.iter().map(question))?;
            return refused.map_or(Ok(()), |why| Err(ImageCommandError::NotLoaded(why)));
        }
        Image::Ls { output } => {
            let images = control::ask(paths.data_dir(), &Ask::ImageList, progress)?;
            print(&match output {
                Some(Output::Json) => format!("{images:#}\n"),
                None => show::images(&images),
            });
            None
        }
        Image::Rm { references } => {
            let question = |reference| (String::new(), Ask::ImageRemove { reference });
            ask_all(paths, references.into_iter().map(question))?
        }
        Image::Pull { reference } => about(Ask::ImagePull { reference })?,
        Image::Tag { image, further } => about(Ask::ImageTag { image, name: further })?,
        Image::Prune { all } => about(Ask::ImagePrune { all })?,
    };
    refused.map_or(Ok(()), |why| Err(ControlError::Refused(why).into()))
}

/// Asks one question after the other, and prints what is answered. What some of them were refused for,
/// with what they are about.
fn ask_all(
    paths: &Paths,
    questions: impl IntoIterator<Item = (String, Ask)>,
) -> Result<Option<String>, ImageCommandError> {
    let mut refused = Vec::new();
    for (about, question) in questions {
        match control::ask(paths.data_dir(), &question, progress) {
            Ok(answer) => print(&show::lines(&answer)),
            Err(ControlError::Refused(why)) => refused.push(format!("{about}{why}")),
            Err(error) => return Err(error.into()),
        }
    }
    Ok((!refused.is_empty()).then(|| refused.join("\n")))
}

/// An archive that the engine can open for as long as this is there.
struct Archive {
    path: PathBuf,
    /// What came on standard input.
    spooled: Option<File>,
}

impl Archive {
    fn open(paths: &Paths, file: &Path) -> Result<Self, ImageCommandError> {
        if file != Path::new(STDIN) {
            let path = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
            return Ok(Self { path, spooled: None });
        }
        if io::stdin().is_terminal() {
            return Err(ImageCommandError::Terminal);
        }
        // Before much is read that nobody takes.
        control::ask(paths.data_dir(), &Ask::Status, |_| ())?;
        // The images' own disk has room for it, or for nothing of it.
        let path = paths.data_dir().to_owned();
        let spooled = spool(&path).map_err(|source| ImageCommandError::Spool { path, source })?;
        let (process, descriptor) = (std::process::id(), spooled.as_raw_fd());
        let path = PathBuf::from(format!("/proc/{process}/fd/{descriptor}"));
        Ok(Self { path, spooled: Some(spooled) })
    }

    /// What refusals begin with.
    fn shown(&self) -> String {
        match self.spooled {
            Some(_) => "standard input: ".to_owned(),
            None => format!("{}: ", self.path.display()),
        }
    }
}

/// What comes on standard input, in a file without a name.
fn spool(directory: &Path) -> io::Result<File> {
    let mut spooled = tempfile::tempfile_in(directory)?;
    io::copy(&mut io::stdin().lock(), &mut spooled)?;
    Ok(spooled)
}
