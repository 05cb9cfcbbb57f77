//! A line of shell as words: enough for the examples of a help. Anything cleverer is refused.

/// A word, or what stands between commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    Word(String),
    /// `|`, `&&`, `;`
    Next,
    /// `>`, `>>`, `<`: the next word is a file.
    File,
}

pub fn split(line: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let text = word.get_or_insert_default();
                text.extend(chars.by_ref().take_while(|c| *c != '\''));
            }
            '"' => {
                let text = word.get_or_insert_default();
                let quoted: String = chars.by_ref().take_while(|c| *c != '"').collect();
                assert!(!quoted.contains(['$', '`', '\\']), "too clever for an example: {line}");
                text.push_str(&quoted);
            }
            '$' | '`' | '\\' | '(' | ')' | '*' => panic!("too clever for an example: {line}"),
            ' ' | '|' | '&' | ';' | '>' | '<' => {
                found.extend(word.take().map(Token::Word));
                match c {
                    ' ' => {}
                    '>' | '<' => {
                        let _ = chars.next_if_eq(&c);
                        found.push(Token::File);
                    }
                    _ => {
                        let _ = chars.next_if_eq(&c);
                        found.push(Token::Next);
                    }
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    found.extend(word.map(Token::Word));
    found
}

/// The calls of `terreau` in it, without variables before them and files after them.
pub fn commands(tokens: &[Token]) -> Vec<Vec<String>> {
    let mut all: Vec<Vec<String>> = vec![Vec::new()];
    let mut is_file = false;
    for token in tokens {
        match token {
            Token::Next => all.push(Vec::new()),
            Token::File => is_file = true,
            Token::Word(_) if is_file => is_file = false,
            Token::Word(word) => {
                let command = all.last_mut().unwrap();
                if !(command.is_empty() && word.contains('=')) {
                    command.push(word.clone());
                }
            }
        }
    }
    all.retain(|c| c.first().is_some_and(|w| w == "terreau"));
    all
}

#[test]
fn a_line_of_shell_is_words_commands_and_files() {
    let line = "A=1 terreau env set B='x y' \"c d\" < in | terreau logs > out && ls";
    let found = commands(&split(line));
    assert_eq!(found, [vec!["terreau", "env", "set", "B=x y", "c d"], vec!["terreau", "logs"]]);
}
