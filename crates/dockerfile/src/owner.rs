//! `--chown` and USER: a user, perhaps a group.

use crate::InvalidValue;

/// `user[:group]`, split but not looked up: only the image knows names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user: Name,
    /// The group, if one was given.
    pub group: Option<Name>,
}

/// A name or a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// An id.
    Id(u32),
    /// A name to look up in the image.
    Name(String),
}

impl Name {
    fn parse(text: &str) -> Result<Self, InvalidValue> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            // The last id is the one that system calls take for "leave as it is".
            let id = text.parse().ok().filter(|id| *id != u32::MAX);
            return id
                .map(Self::Id)
                .ok_or_else(|| InvalidValue::new(format!("`{text}` is too large an id")));
        }
        Ok(Self::Name(text.to_owned()))
    }
}

impl Owner {
    /// Splits a value with all variables expanded. An empty half is as if it were not there; without a user, it is root.
    ///
    /// # Errors
    ///
    /// An id that is too large, or more than one colon.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
            None => (text, None),
        };
        if group.is_some_and(|g| g.contains(':')) {
            let message = format!("`{text}` has more than a user and a group");
            return Err(InvalidValue::new(message));
        }
        Ok(Self {
            user: match user {
                "" => Name::Id(0),
                user => Name::parse(user)?,
            },
            group: group.map(Name::parse).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Name, Owner};

    #[test]
    fn f131_users_and_groups_by_name_and_number() {
        let owner = |text| {
            let owner = Owner::parse(text).unwrap();
            (owner.user, owner.group)
        };
        let name = |text: &str| Name::Name(text.to_owned());
        assert_eq!(owner("daemon"), (name("daemon"), None));
        assert_eq!(owner("1000:nobody"), (Name::Id(1000), Some(name("nobody"))));
        assert_eq!(owner("www-data:"), (name("www-data"), None));
        assert_eq!(owner(":12"), (Name::Id(0), Some(Name::Id(12))));
        assert!(Owner::parse("4294967295").is_err());
        assert!(Owner::parse("a:b:c").is_err());
    }
}
