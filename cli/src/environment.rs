//! Variables: `HOLDFAST_X` wins over `VAULT_X`; empty counts as absent.

/// Looks a variable up by its name without prefix.
pub struct Environment<'a>(&'a dyn Fn(&str) -> Option<String>);

impl<'a> Environment<'a> {
    /// With a source of variables by full name.
    pub fn new(source: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self(source)
    }

    /// `HOLDFAST_<name>`, else `VAULT_<name>`.
    pub fn get(&self, name: &str) -> Option<String> {
        let full = |prefix: &str| (self.0)(&format!("{prefix}_{name}")).filter(|value| !value.is_empty());
        full("HOLDFAST").or_else(|| full("VAULT"))
    }

    /// The same as a truth value.
    pub fn truth(&self, name: &str) -> bool {
        matches!(self.get(name).as_deref(), Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
    }

    /// A variable by its full name.
    pub fn plain(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holdfast_wins() {
        let source = |name: &str| match name {
            "HOLDFAST_ADDR" => Some("h".to_owned()),
            "VAULT_ADDR" | "VAULT_TOKEN" => Some("v".to_owned()),
            "HOLDFAST_TOKEN" => Some(String::new()),
            _ => None,
        };
        let environment = Environment::new(&source);
        assert_eq!(environment.get("ADDR").as_deref(), Some("h"));
        assert_eq!(environment.get("TOKEN").as_deref(), Some("v"));
        assert_eq!(environment.get("NAMESPACE"), None);
    }
}
