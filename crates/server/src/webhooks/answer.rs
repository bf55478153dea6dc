//! What an HTTP answer comes to, in the words of upstream's client. Pure.

/// How much is shown of an answer that is none.
const SHOWN_MAX: usize = 2048;

/// Why an answer with this code is none; `text` is its body, if that is text.
///
/// # Errors
/// For every code but those of success.
pub(super) fn check(code: u16, text: Option<&str>) -> Result<(), String> {
    let why = match code {
        200..=206 => return Ok(()),
        400 => "the server rejected our request for an unknown reason",
        401 => "the server has asked for the client to provide credentials",
        403 => text.unwrap_or("unknown"),
        404 => "the server could not find the requested resource",
        405 => "the server does not allow this method on the requested resource",
        409 => "the server reported a conflict",
        415 => text.unwrap_or("the body of the request was in an unknown format"),
        422 => "the server rejected our request due to an error in our request",
        429 => "the server has received too many requests and has asked us to try again later",
        503 => "the server is currently unable to handle the request",
        504 => {
            "the server was unable to return a response in the time allotted, but may still be \
             processing the request"
        }
        500.. => {
            let said = text.unwrap_or("unknown");
            return Err(format!(
                "an error on the server ({said:?}) has prevented the request from succeeding"
            ));
        }
        _ => {
            return Err(format!(
                "the server responded with the status code {code} but did not return more \
                 information"
            ));
        }
    };
    Err(why.to_owned())
}

/// The beginning of a body of this type, if that is text.
pub(super) fn shown(content_type: Option<&str>, body: &[u8]) -> Option<String> {
    if !content_type.is_none_or(|ty| ty.starts_with("text/")) {
        return None;
    }
    let beginning = body.get(..SHOWN_MAX).unwrap_or(body);
    Some(String::from_utf8_lossy(beginning).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_success_is_told_as_upstream_tells_it() {
        assert_eq!(check(200, None), Ok(()));
        assert_eq!(
            check(500, shown(Some("text/plain"), b"oops\n").as_deref()),
            Err("an error on the server (\"oops\") has prevented the request from succeeding"
                .into())
        );
        assert_eq!(shown(Some("application/json"), b"{}"), None);
        let moved = check(302, None).unwrap_err();
        assert!(moved.contains("status code 302"), "redirects are not followed: {moved}");
    }
}
