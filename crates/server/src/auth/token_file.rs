//! `--token-auth-file`: tokens that do not end, in a file of comma-separated values (RFC 4180), as
//! upstream reads it: `token,user,uid,"group1,group2"`. Pure.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::auth::AUTHENTICATED;
use crate::pipeline::request::User;

type Hash = [u8; 32];

/// Whose the tokens are. They are found by their hashes: how long that takes says nothing of a token.
#[derive(Clone, Debug, Default)]
pub struct TokenFile(HashMap<Hash, User>);

impl TokenFile {
    /// The tokens in `text`.
    ///
    /// # Errors
    /// What is wrong with it, and in which line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut all = HashMap::new();
        for (line, record) in records(text)? {
            let [token, name, uid, rest @ ..] = record.as_slice() else {
                return Err(format!(
                    "line {line}: it must have at least 3 columns (token, user name, user uid), found {}",
                    record.len()
                ));
            };
            if name.is_empty() || token.is_empty() {
                return Err(format!("line {line}: the token and the user name must not be empty"));
            }
            let groups = rest.first().map(String::as_str).unwrap_or_default();
            let groups = groups.split(',').map(str::trim).filter(|group| !group.is_empty());
            let groups = groups.chain([AUTHENTICATED]).map(str::to_owned).collect();
            let user = User { name: name.clone(), uid: uid.clone(), groups, ..User::default() };
            if all.insert(hash(token), user).is_some() {
                return Err(format!("line {line}: the token is there already"));
            }
        }
        Ok(Self(all))
    }

    /// Whose `token` is.
    #[must_use]
    pub fn user(&self, token: &str) -> Option<&User> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&hash(token))
    }
}

fn hash(token: &str) -> Hash {
    Sha256::digest(token).into()
}

/// The records, each with the line that it begins in; lines without anything are none.
fn records(text: &str) -> Result<Vec<(usize, Vec<String>)>, String> {
    let mut all = Vec::new();
    let (mut record, mut field) = (Vec::new(), String::new());
    let (mut line, mut begin) = (1_usize, 1_usize);
    let mut is_quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if is_quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if is_quoted => {
                is_quoted = false;
                if !matches!(characters.peek(), None | Some(',' | '\n' | '\r')) {
                    return Err(format!("line {line}: a quote ends before its field does"));
                }
            }
            '"' if field.is_empty() => is_quoted = true,
            '"' => return Err(format!("line {line}: a quote in a field without quotes")),
            ',' if !is_quoted => record.push(std::mem::take(&mut field)),
            '\r' if !is_quoted && characters.peek() == Some(&'\n') => {}
            '\n' if !is_quoted => {
                end(&mut all, &mut record, &mut field, begin);
                line = line.saturating_add(1);
                begin = line;
            }
            other => {
                line = line.saturating_add(usize::from(other == '\n'));
                field.push(other);
            }
        }
    }
    if is_quoted {
        return Err(format!("line {begin}: a quote without its end"));
    }
    end(&mut all, &mut record, &mut field, begin);
    Ok(all)
}

fn end(
    all: &mut Vec<(usize, Vec<String>)>,
    record: &mut Vec<String>,
    field: &mut String,
    line: usize,
) {
    if !record.is_empty() || !field.is_empty() {
        record.push(std::mem::take(field));
        all.push((line, std::mem::take(record)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_who_its_bearer_is() {
        let text = "t1,anna,u1,\"dev, ops\"\r\n\nt2,bob,\n\"t\"\"3\",\"c,d\",u3,dev,what follows\n";
        let file = TokenFile::parse(text).unwrap();
        let user = |token: &str| {
            let user = file.user(token)?;
            Some(format!("{}/{}/{}", user.name, user.uid, user.groups.join(" ")))
        };
        assert_eq!(user("t1").unwrap(), "anna/u1/dev ops system:authenticated");
        assert_eq!(user("t2").unwrap(), "bob//system:authenticated");
        assert_eq!(user("t\"3").unwrap(), "c,d/u3/dev system:authenticated");
        assert_eq!((user(""), user("t3")), (None, None));
        assert!(TokenFile::parse("").unwrap().user("").is_none());
    }

    #[test]
    fn what_is_no_token_file_is_told_with_its_line() {
        let wrong = |text: &str| TokenFile::parse(text).unwrap_err();
        assert_eq!(
            wrong("a,b,c\nd,e"),
            "line 2: it must have at least 3 columns (token, user name, user uid), found 2"
        );
        assert_eq!(
            wrong("\n\na,b,c\n,x,y"),
            "line 4: the token and the user name must not be empty"
        );
        assert_eq!(wrong("a,b,c\na,d,e"), "line 2: the token is there already");
        assert_eq!(wrong("a,\"b,c\n"), "line 1: a quote without its end");
        assert_eq!(wrong("a,\"b\"c,d"), "line 1: a quote ends before its field does");
        assert_eq!(wrong("a,b\"c,d"), "line 1: a quote in a field without quotes");
    }
}
