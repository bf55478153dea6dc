//! The protocol of exec and attach: what a message's first byte says over WebSocket, or its stream
//! over SPDY. Pure.

use bytes::Bytes;
use coracle_api::Status;
use serde::Deserialize;
use serde_json::json;

use crate::streams::node::TerminalSize;

/// From the client.
pub(crate) const STDIN: u8 = 0;
/// To the client.
pub(crate) const STDOUT: u8 = 1;
/// To the client.
pub(crate) const STDERR: u8 = 2;
/// To the client, once, at the end.
pub(crate) const ERROR: u8 = 3;
/// From the client.
pub(crate) const RESIZE: u8 = 4;
/// From the client: the channel that the second byte names has ended.
const CLOSE: u8 = 255;

/// The protocols, by the names that clients ask for; the last is for those that name none.
pub(crate) const PROTOCOLS: [&str; 6] = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
];

/// How far a protocol goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `channel.k8s.io`: errors are texts.
    Text,
    /// `v4.channel.k8s.io`: the end is a Status.
    Status,
    /// `v5.channel.k8s.io`: and input can end before the session does.
    HalfClose,
}

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Stdin(Bytes),
    EndOfStdin,
    Resize(Vec<TerminalSize>),
    Nothing,
}

/// How a command ended.
pub(crate) enum Outcome {
    /// Zero, or nobody asks.
    Success,
    /// Another exit code, and the words for it.
    Exit(i32, String),
    /// It did not get as far.
    Failure(Box<Status>),
}

/// A size as clients write it.
#[derive(Deserialize)]
struct Size {
    #[serde(rename = "Width", alias = "width")]
    width: u16,
    #[serde(rename = "Height", alias = "height")]
    height: u16,
}

impl Protocol {
    /// The one that is called `name`.
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "v5.channel.k8s.io" => Self::HalfClose,
            "v4.channel.k8s.io" | "v4.base64.channel.k8s.io" => Self::Status,
            _ => Self::Text,
        }
    }

    /// What `message` says.
    pub(crate) fn input(self, message: &Bytes) -> Input {
        let Some(channel) = message.first() else { return Input::Nothing };
        let data = message.slice(1..);
        match *channel {
            STDIN => Input::Stdin(data),
            RESIZE => Input::Resize(sizes(&data)),
            CLOSE if self == Self::HalfClose && data.first() == Some(&STDIN) => Input::EndOfStdin,
            _ => Input::Nothing,
        }
    }

    /// What is written on the error channel at the end; nothing when there is nothing to say.
    pub(crate) fn outcome(self, outcome: &Outcome) -> Option<Bytes> {
        if self == Self::Text {
            return outcome.message().map(Bytes::from);
        }
        let status = match outcome {
            Outcome::Success => json!({"metadata": {}, "status": "Success"}),
            Outcome::Exit(code, _) => json!({
                "metadata": {},
                "status": "Failure",
                "message": outcome.message(),
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            Outcome::Failure(status) => json!(**status),
        };
        Some(Bytes::from(status.to_string()))
    }
}

impl Outcome {
    fn message(&self) -> Option<String> {
        match self {
            Self::Success => None,
            Self::Exit(_, why) => {
                Some(format!("command terminated with non-zero exit code: {why}"))
            }
            Self::Failure(status) => Some(status.message.clone()),
        }
    }
}

/// JSON values one after another; what is none ends them.
pub(super) fn sizes(data: &[u8]) -> Vec<TerminalSize> {
    let values = serde_json::Deserializer::from_slice(data).into_iter::<Size>();
    let sizes = values.map_while(Result::ok);
    sizes.map(|Size { width, height }| TerminalSize { width, height }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn input(protocol: Protocol, message: &'static [u8]) -> Input {
        protocol.input(&Bytes::from_static(message))
    }

    fn status(protocol: Protocol, outcome: &Outcome) -> Value {
        serde_json::from_slice(&protocol.outcome(outcome).unwrap()).unwrap()
    }

    #[test]
    fn input_ends_early_only_where_the_protocol_says_so() {
        let stdin = Input::Stdin(Bytes::from_static(b"hello"));
        assert_eq!(input(Protocol::HalfClose, b"\x00hello"), stdin);
        assert_eq!(input(Protocol::HalfClose, b"\xff\x00"), Input::EndOfStdin);
        assert_eq!(input(Protocol::HalfClose, b"\xff\x01"), Input::Nothing);
        assert_eq!(input(Protocol::Status, b"\xff\x00"), Input::Nothing);
        assert_eq!(input(Protocol::HalfClose, b""), Input::Nothing);
        assert_eq!(input(Protocol::HalfClose, b"\x01out"), Input::Nothing);
    }

    #[test]
    fn sizes_come_one_or_several_to_a_message() {
        let size = |width, height| TerminalSize { width, height };
        let both = b"\x04{\"Width\":80,\"Height\":24}\n{\"Width\":81,\"Height\":25}\n";
        let expected = Input::Resize(vec![size(80, 24), size(81, 25)]);
        assert_eq!(input(Protocol::HalfClose, both), expected);
        assert_eq!(input(Protocol::HalfClose, b"\x04nonsense"), Input::Resize(vec![]));
        let endless = b"\x04{\"Width\":99999,\"Height\":1}";
        assert_eq!(input(Protocol::HalfClose, endless), Input::Resize(vec![]));
    }

    #[test]
    fn the_end_is_a_status_or_a_text() {
        let exit = Outcome::Exit(3, "error executing command [false], exit code 3".into());
        let written = status(Protocol::HalfClose, &exit);
        assert_eq!(written["reason"], "NonZeroExitCode");
        assert_eq!(written["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
        let success = status(Protocol::Status, &Outcome::Success);
        assert_eq!(success, json!({"metadata": {}, "status": "Success"}));
        assert_eq!(Protocol::Text.outcome(&Outcome::Success), None);
        assert_eq!(
            Protocol::Text.outcome(&exit).unwrap(),
            "command terminated with non-zero exit code: error executing command [false], exit \
             code 3"
        );
        let failure = Outcome::Failure(Box::new(Status::internal("no such file")));
        assert_eq!(status(Protocol::HalfClose, &failure)["reason"], "InternalError");
    }
}
