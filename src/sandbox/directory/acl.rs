//! Bottin's access control: a list of `user:groups:actions:target:attributes`. Pure.
//!
//! A request is allowed where one rule allows it; there is no rule that forbids. Patterns are those of Go's
//! `path.Match`, without regard to case: `*`, `?`, `[a-z]`, `[^a-z]`, and a backslash before a literal. As no DN
//! holds a `/`, `*` reaches over commas. Unlike Bottin, a rule that can never apply is refused when it is read.

use std::fmt;
use std::str::FromStr;

/// What a rule allows to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Search and compare.
    Read,
    /// Make an entry.
    Add,
    /// Delete one.
    Delete,
    /// Change attributes.
    Modify,
    /// Add values to attributes, and nothing else.
    ModifyAdd,
    /// Try a password.
    Bind,
}

/// Who is at the other end of a connection. Groups are those at the time of the bind, as in Bottin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The canonical DN, or `ANONYMOUS`.
    pub dn: String,
    /// DNs of the groups.
    pub groups: Vec<String>,
}

impl Who {
    /// Nobody has bound yet.
    pub fn anonymous() -> Self {
        Self { dn: "ANONYMOUS".to_owned(), groups: Vec::new() }
    }

    /// True before a bind.
    pub fn is_anonymous(&self) -> bool {
        self.dn == "ANONYMOUS"
    }
}

/// Why a line is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("access rule {line:?}: {why}")]
pub struct AclError {
    line: String,
    why: String,
}

/// The whole list.
#[derive(Debug, Clone, Default)]
pub struct Acl(Vec<Rule>);

#[derive(Debug, Clone)]
struct Rule {
    user: Pattern,
    groups: Vec<Pattern>,
    actions: Vec<Action>,
    target: Target,
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

#[derive(Debug, Clone)]
enum Target {
    Myself,
    Like(Pattern),
}

impl Acl {
    /// Reads the lines; the first that is no rule is the error.
    pub fn parse<S: AsRef<str>>(lines: &[S]) -> Result<Self, AclError> {
        lines.iter().map(|line| line.as_ref().parse()).collect::<Result<_, _>>().map(Self)
    }

    /// What Deuxfleurs' clusters use, less what their invitations need: people read the tree without its
    /// secrets and change themselves, services read everything, the admin group does everything.
    pub fn lines_for(base: &str) -> Vec<String> {
        vec![
            format!(
                "*,{base}::read:*:* !userpassword !user_secret !alternate_user_secrets !garage_s3_secret_key"
            ),
            "*::read modify:SELF:*".to_owned(),
            format!("ANONYMOUS::bind:*,ou=users,{base}:"),
            format!("*,ou=services,ou=users,{base}::bind:*,ou=users,{base}:*"),
            format!("*,ou=services,ou=users,{base}::read:*:*"),
            format!("*:cn=admin,ou=groups,{base}:read add modify delete:*:*"),
        ]
    }

    /// True where one rule allows all of it.
    pub fn allows(&self, who: &Who, action: Action, target: &str, attrs: &[&str]) -> bool {
        self.0.iter().any(|rule| rule.allows(who, action, target, attrs))
    }
}

impl Rule {
    fn allows(&self, who: &Who, action: Action, target: &str, attrs: &[&str]) -> bool {
        let reaches = match &self.target {
            Target::Myself => who.dn == target,
            Target::Like(pattern) => pattern.matches(target),
        };
        self.actions.contains(&action)
            && reaches
            && self.user.matches(&who.dn)
            && self.groups.iter().all(|wanted| who.groups.iter().any(|group| wanted.matches(group)))
            && attrs.iter().all(|attr| {
                self.include.iter().any(|pattern| pattern.matches(attr))
                    && !self.exclude.iter().any(|pattern| pattern.matches(attr))
            })
    }
}

impl FromStr for Rule {
    type Err = AclError;

    fn from_str(line: &str) -> Result<Self, AclError> {
        let wrong = |why: String| AclError { line: line.to_owned(), why };
        let fields: Vec<&str> = line.split(':').collect();
        let [user, groups, actions, target, attributes] = fields[..] else {
            return Err(wrong(format!(
                "it has {} fields, not 5 (user:groups:actions:target:attributes)",
                fields.len()
            )));
        };
        let pattern = |text: &str| Pattern::compile(text).map_err(&wrong);
        let actions = actions
            .split_whitespace()
            .map(|word| action(word).ok_or_else(|| wrong(format!("{word:?} is no action"))))
            .collect::<Result<Vec<_>, _>>()?;
        if actions.is_empty() || user.trim().is_empty() || target.trim().is_empty() {
            return Err(wrong("user, actions and target must not be empty".to_owned()));
        }
        let (mut include, mut exclude) = (Vec::new(), Vec::new());
        for word in attributes.split_whitespace() {
            match word.strip_prefix('!') {
                Some(word) => exclude.push(pattern(word)?),
                None => include.push(pattern(word)?),
            }
        }
        Ok(Self {
            user: pattern(user.trim())?,
            groups: groups.split_whitespace().map(pattern).collect::<Result<_, _>>()?,
            actions,
            target: if target.trim() == "SELF" {
                Target::Myself
            } else {
                Target::Like(pattern(target.trim())?)
            },
            include,
            exclude,
        })
    }
}

fn action(word: &str) -> Option<Action> {
    Some(match word {
        "read" => Action::Read,
        "add" => Action::Add,
        "delete" => Action::Delete,
        "modify" => Action::Modify,
        "modifyAdd" => Action::ModifyAdd,
        "bind" => Action::Bind,
        _ => return None,
    })
}

/// A compiled pattern of `path.Match`, lower case.
#[derive(Clone)]
struct Pattern(Vec<Token>);

#[derive(Debug, Clone)]
enum Token {
    Any,
    One,
    Literal(char),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Pattern {
    fn compile(text: &str) -> Result<Self, String> {
        let lower = text.to_lowercase();
        let mut chars = lower.chars().peekable();
        let mut tokens = Vec::new();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Any,
                '?' => Token::One,
                '\\' => Token::Literal(chars.next().ok_or("a pattern ends in a backslash")?),
                '[' => class(&mut chars)?,
                other => Token::Literal(other),
            });
        }
        Ok(Self(tokens))
    }

    /// In time proportional to pattern × text at worst: only the last `*` is ever gone back to.
    fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.to_lowercase().chars().collect();
        let (mut p, mut t) = (0, 0);
        let mut back: Option<(usize, usize)> = None;
        while t < text.len() {
            match self.0.get(p) {
                Some(Token::Any) => {
                    back = Some((p, t));
                    p += 1;
                }
                Some(token) if token.takes(text[t]) => {
                    p += 1;
                    t += 1;
                }
                _ => match back {
                    Some((star, from)) if text[from] != '/' => {
                        back = Some((star, from + 1));
                        p = star + 1;
                        t = from + 1;
                    }
                    _ => return false,
                },
            }
        }
        self.0[p..].iter().all(|token| matches!(token, Token::Any))
    }
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Token::Any => false,
            Token::One => c != '/',
            Token::Literal(literal) => *literal == c,
            Token::Class { negated, ranges } => {
                c != '/' && ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *negated
            }
        }
    }
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, String> {
    let open = || "a pattern has a `[` that is not closed or is empty".to_owned();
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Ok(Token::Class { negated, ranges });
        }
        let from = bound(chars).ok_or_else(open)?;
        let to = if chars.next_if_eq(&'-').is_some() { bound(chars).ok_or_else(open)? } else { from };
        ranges.push((from, to));
    }
}

fn bound(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '-' | ']' => None,
        '\\' => chars.next(),
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn person(name: &str, groups: &[&str]) -> Who {
        let groups = groups.iter().map(|g| format!("cn={g},ou=groups,dc=ex")).collect();
        Who { dn: format!("cn={name},ou=users,dc=ex"), groups }
    }

    fn acl(lines: &[&str]) -> Acl {
        Acl::parse(lines).unwrap()
    }

    #[test]
    fn the_usual_list_is_a_list_of_rules() {
        let acl = Acl::parse(&Acl::lines_for("dc=ex")).unwrap();
        let (alice, admin) = (person("alice", &[]), person("root", &["admin"]));
        let own = "cn=alice,ou=users,dc=ex";
        let other = "cn=bob,ou=users,dc=ex";
        assert!(acl.allows(&Who::anonymous(), Action::Bind, own, &[]));
        assert!(!acl.allows(&Who::anonymous(), Action::Read, own, &[]));
        assert!(acl.allows(&alice, Action::Read, own, &["memberof", "userpassword"]));
        assert!(acl.allows(&alice, Action::Modify, own, &["userpassword"]));
        assert!(acl.allows(&alice, Action::Read, other, &["mail"]));
        assert!(!acl.allows(&alice, Action::Read, other, &["mail", "userpassword"]));
        assert!(!acl.allows(&alice, Action::Modify, other, &["mail"]));
        assert!(acl.allows(&admin, Action::Delete, other, &[]));
        let service = Who { dn: "cn=app,ou=services,ou=users,dc=ex".to_owned(), groups: vec![] };
        assert!(acl.allows(&service, Action::Read, other, &["userpassword"]));
        assert!(acl.allows(&service, Action::Bind, other, &[]));
        assert!(!acl.allows(&service, Action::Add, "cn=x,ou=users,dc=ex", &[]));
    }

    #[test]
    fn all_groups_must_match_and_each_may_be_a_pattern() {
        let acl = acl(&["*:cn=a*,ou=groups,* cn=b,ou=groups,dc=ex:add:*:*"]);
        assert!(acl.allows(&person("x", &["abc", "b"]), Action::Add, "cn=y", &[]));
        assert!(!acl.allows(&person("x", &["abc"]), Action::Add, "cn=y", &[]));
        assert!(!acl.allows(&person("x", &["b"]), Action::Add, "cn=y", &[]));
    }

    #[test]
    fn an_excluded_attribute_is_excluded_by_its_rule_only() {
        let some = acl(&["*::read:*:* !*secret*"]);
        assert!(some.allows(&person("x", &[]), Action::Read, "cn=y", &["mail"]));
        assert!(!some.allows(&person("x", &[]), Action::Read, "cn=y", &["Garage_S3_Secret_Key"]));
        let both = acl(&["*::read:*:* !*secret*", "*::read:*:*"]);
        assert!(both.allows(&person("x", &[]), Action::Read, "cn=y", &["user_secret"]));
        let none = acl(&["*::read:*:"]);
        assert!(none.allows(&person("x", &[]), Action::Read, "cn=y", &[]));
        assert!(!none.allows(&person("x", &[]), Action::Read, "cn=y", &["mail"]));
    }

    #[test]
    fn self_is_the_bound_entry_and_never_the_anonymous() {
        let acl = acl(&["*::modify:SELF:*"]);
        assert!(acl.allows(&person("x", &[]), Action::Modify, "cn=x,ou=users,dc=ex", &["mail"]));
        assert!(!acl.allows(&person("x", &[]), Action::Modify, "cn=xy,ou=users,dc=ex", &["mail"]));
        assert!(!acl.allows(&Who::anonymous(), Action::Modify, "cn=x,ou=users,dc=ex", &[]));
    }

    #[test]
    fn patterns_are_those_of_path_match() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("a*c", "abbbc", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXcYb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "BX", true),
            ("[^a-c]x", "bx", false),
            (r"\*", "*", true),
            (r"\*", "a", false),
            ("a*", "a/b", false),
            ("*b", "a/b", false),
            ("CN=*,OU=x", "cn=Älice,ou=X", true),
        ] {
            assert_eq!(Pattern::compile(pattern).unwrap().matches(text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_no_rule_is_refused_with_the_line() {
        for line in [
            "",
            "*",
            "*::read:*",
            "*::read:*:*:",
            "*::fly:*:*",
            "*:::*:*",
            "::read:*:*",
            "[::read:*:*",
            "*::read:*:a\\",
        ] {
            let error = Acl::parse(&[line]).unwrap_err().to_string();
            assert!(error.contains("access rule"), "{error}");
        }
    }

    /// As `path.Match` is written: by trying everything. Slow, and evidently right.
    fn plainly(tokens: &[Token], text: &[char]) -> bool {
        match (tokens.first(), text.first()) {
            (None, None) => true,
            (Some(Token::Any), first) => {
                plainly(&tokens[1..], text) || first.is_some_and(|c| *c != '/') && plainly(tokens, &text[1..])
            }
            (Some(token), Some(c)) => token.takes(*c) && plainly(&tokens[1..], &text[1..]),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn the_matcher_agrees_with_trying_everything(pattern in r"[ab*?/]{0,10}", text in r"[ab/]{0,10}") {
            let pattern = Pattern::compile(&pattern).unwrap();
            let chars: Vec<char> = text.chars().collect();
            prop_assert_eq!(pattern.matches(&text), plainly(&pattern.0, &chars));
        }

        #[test]
        fn no_text_makes_the_reader_panic(line in r"\PC{0,40}", text in r"\PC{0,20}") {
            if let Ok(acl) = Acl::parse(&[&line]) {
                acl.allows(&person("x", &["g"]), Action::Read, &text, &[&text]);
            }
            let _ = Acl::parse(&[format!("{text}:{text}:read bind:{text}:{text} !{text}")]);
            if let Ok(pattern) = Pattern::compile(&text) {
                pattern.matches(&line);
            }
        }
    }
}
