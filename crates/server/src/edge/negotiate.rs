//! What a client accepts: media types, and the forms that an answer can take.

use coracle_api::{Kind, Status, Verb};

/// How an answer is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// What of the objects is shown.
    pub shape: Shape,
    /// In which encoding.
    pub encoding: Encoding,
}

/// What of the objects is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Everything.
    Whole,
    /// `meta.k8s.io` Table, of this version.
    Table(&'static str),
    /// `meta.k8s.io` PartialObjectMetadata, or its List, of this version.
    Metadata(&'static str),
}

/// In which encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// JSON on one line.
    Json,
    /// JSON for people.
    Pretty,
    /// YAML.
    Yaml,
}

impl Form {
    /// JSON of everything.
    pub const JSON: Self = Self { shape: Shape::Whole, encoding: Encoding::Json };
}

/// One media type of an Accept header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaType {
    /// `application/json`
    pub name: String,
    params: Vec<(String, String)>,
}

impl MediaType {
    /// The value of a parameter; empty when it is not there.
    #[must_use]
    pub fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// The media types of an Accept header, the most wanted first.
#[must_use]
pub fn accepted(header: &str) -> Vec<MediaType> {
    let mut types: Vec<(MediaType, i32)> = header
        .split(',')
        .filter(|part| !part.trim().is_empty())
        .map(|part| {
            let mut pieces = part.split(';').map(str::trim);
            let name = pieces.next().unwrap_or_default().to_ascii_lowercase();
            let params: Vec<(String, String)> = pieces
                .filter_map(|piece| piece.split_once('='))
                .map(|(key, value)| {
                    (key.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned())
                })
                .collect();
            let media = MediaType { name, params };
            let quality: f32 = media.param("q").parse().unwrap_or(1.0);
            (media, (quality * -1000.0) as i32)
        })
        .collect();
    types.sort_by_key(|(_, quality)| *quality);
    types.into_iter().map(|(media, _)| media).collect()
}

/// What is asked for, which not every form fits.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Of which kind.
    pub kind: &'a Kind,
    /// A list is no object, and an object no list.
    pub verb: Verb,
}

/// The form of an answer with objects. `pretty` is what the query says, `agent` the User-Agent:
/// people with a browser or curl get indented JSON.
///
/// # Errors
/// 406 when nothing that the client accepts can be had.
pub fn form(
    accept: &str,
    pretty: Option<bool>,
    agent: &str,
    asked: Asked<'_>,
) -> Result<Form, Status> {
    let pretty = pretty.unwrap_or_else(|| {
        ["curl", "Wget", "Mozilla/5.0"].iter().any(|person| agent.starts_with(person))
    });
    let json = if pretty { Encoding::Pretty } else { Encoding::Json };
    let types = accepted(accept);
    if types.is_empty() {
        return Ok(Form { shape: Shape::Whole, encoding: json });
    }
    let fits = |media: &MediaType| {
        let encoding = match media.name.as_str() {
            "application/json" | "*/*" => json,
            "application/yaml" => Encoding::Yaml,
            _ => return None,
        };
        Some((Form { shape: shape(media)?, encoding }, media.param("as").to_owned()))
    };
    let (form, wanted) =
        types.iter().find_map(fits).ok_or_else(|| not_acceptable(&types, asked))?;
    match form.shape {
        Shape::Metadata(_) => check_metadata(&wanted, asked).map(|()| form),
        _ => Ok(form),
    }
}

/// Of a list only a list of metadata can be had, and of an object only its own.
fn check_metadata(wanted: &str, asked: Asked<'_>) -> Result<(), Status> {
    let Kind { group, kind, .. } = asked.kind;
    let package = group.split('.').next().filter(|name| !name.is_empty()).unwrap_or("core");
    let is_list = wanted == "PartialObjectMetadataList";
    let why = match asked.verb {
        Verb::List if !is_list => {
            format!(
                "you requested {wanted}, but the requested object is a list (*{package}.{kind}List)"
            )
        }
        Verb::Get if is_list => {
            format!(
                "you requested {wanted}, but the requested object is not a list (*{package}.{kind})"
            )
        }
        _ => return Ok(()),
    };
    Err(Status::failure(406, "NotAcceptable", why))
}

fn shape(media: &MediaType) -> Option<Shape> {
    let version = match (media.param("g"), media.param("v")) {
        ("meta.k8s.io", "v1") => "v1",
        ("meta.k8s.io", "v1beta1") => "v1beta1",
        _ if media.param("as").is_empty() => return Some(Shape::Whole),
        _ => return None,
    };
    match media.param("as") {
        "" => Some(Shape::Whole),
        "Table" => Some(Shape::Table(version)),
        "PartialObjectMetadata" | "PartialObjectMetadataList" => Some(Shape::Metadata(version)),
        _ => None,
    }
}

/// 406 for what is accepted: a form that there is not, or no media type that there is.
fn not_acceptable(types: &[MediaType], asked: Asked<'_>) -> Status {
    let is_served = |media: &MediaType| {
        ["application/json", "application/yaml", "*/*"].contains(&media.name.as_str())
    };
    if types.iter().any(is_served) {
        let message = "only the following media types are accepted: application/json, \
                       application/yaml, application/vnd.kubernetes.protobuf";
        return Status::failure(406, "NotAcceptable", message);
    }
    let streams = match asked.verb {
        Verb::List | Verb::Watch => {
            ", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
        }
        _ => "",
    };
    let message = format!(
        "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
         application/vnd.kubernetes.protobuf{streams}"
    );
    Status::failure(406, "NotAcceptable", message).with_details(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form_of(verb: Verb, accept: &str, agent: &str) -> Result<Form, Status> {
        let kinds = coracle_api::kinds::Kinds::builtin();
        let kind = kinds.resource("", "v1", "configmaps").unwrap();
        form(accept, None, agent, Asked { kind, verb })
    }

    #[test]
    fn kubectl_gets_tables_and_typed_clients_json() {
        let shape = |accept| form_of(Verb::List, accept, "kubectl").unwrap().shape;
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;\
                       v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(shape(kubectl), Shape::Table("v1"));
        let typed = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(form_of(Verb::List, typed, "kubectl").unwrap(), Form::JSON);
        assert_eq!(form_of(Verb::Get, "", "curl/8").unwrap().encoding, Encoding::Pretty);
        let metadata = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(shape(metadata), Shape::Metadata("v1"));
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        let refused = |verb, accept: &str| form_of(verb, accept, "").unwrap_err().message;
        for accept in ["text/plain", "application/*"] {
            assert!(refused(Verb::Get, accept).starts_with("406: Not Acceptable"), "{accept}");
        }
        for accept in ["as=Nope;g=meta.k8s.io;v=v1", "as=Table;g=meta.k8s.io;v=v9"] {
            let refusal = refused(Verb::Get, &format!("application/json;{accept}"));
            assert!(refusal.starts_with("only the following media types"), "{accept}");
        }
        let metadata = |kind: &str| format!("application/json;as={kind};g=meta.k8s.io;v=v1");
        assert_eq!(
            refused(Verb::List, &metadata("PartialObjectMetadata")),
            "you requested PartialObjectMetadata, but the requested object is a list \
             (*core.ConfigMapList)"
        );
        assert!(
            refused(Verb::Get, &metadata("PartialObjectMetadataList")).contains("is not a list")
        );
        assert!(form_of(Verb::Watch, &metadata("PartialObjectMetadata"), "").is_ok());
    }
}
