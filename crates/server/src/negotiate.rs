//! What a client accepts: media types, and the forms that an answer can take.

use coracle_api::Status;

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

/// The form of an answer with objects. `pretty` is what the query says, `agent` the User-Agent:
/// people with a browser or curl get indented JSON.
///
/// # Errors
/// 406 when nothing that the client accepts can be had.
pub fn form(accept: &str, pretty: Option<bool>, agent: &str) -> Result<Form, Status> {
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
            "application/json" | "application/*" | "*/*" => json,
            "application/yaml" => Encoding::Yaml,
            _ => return None,
        };
        Some(Form { shape: shape(media)?, encoding })
    };
    types.iter().find_map(fits).ok_or_else(not_acceptable)
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

/// 406.
#[must_use]
pub fn not_acceptable() -> Status {
    let message = "only the following media types are accepted: application/json, \
                   application/yaml, application/vnd.kubernetes.protobuf";
    Status::failure(406, "NotAcceptable", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_gets_tables_and_typed_clients_json() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;\
                       v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(form(kubectl, None, "kubectl").unwrap().shape, Shape::Table("v1"));
        let typed = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(form(typed, None, "kubectl").unwrap(), Form::JSON);
        assert_eq!(form("", None, "curl/8").unwrap().encoding, Encoding::Pretty);
        assert_eq!(form("text/plain", None, "").unwrap_err().code, 406);
        let metadata = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(form(metadata, None, "").unwrap().shape, Shape::Metadata("v1"));
    }
}
