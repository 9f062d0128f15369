//! As much of a shell as checks need: commands and their words. It guesses, since what it reads are programs.

/// One command of a script, and the words of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) words: Vec<String>,
}

impl Command {
    /// The word that names the program, without its directory. Assignments before it, and programs that only start another,
    /// are skipped.
    pub(super) fn program(&self) -> &str {
        self.arguments_from(self.program_at()).0
    }

    /// The words behind the program's name.
    pub(super) fn arguments(&self) -> &[String] {
        self.arguments_from(self.program_at()).1
    }

    fn arguments_from(&self, at: usize) -> (&str, &[String]) {
        match self.words.get(at..).and_then(<[String]>::split_first) {
            Some((name, rest)) => (name.rsplit('/').next().unwrap_or(name), rest),
            None => ("", &[]),
        }
    }

    fn program_at(&self) -> usize {
        let passes = |word: &String| {
            let assignment = word.split_once('=').is_some_and(|(name, _)| {
                name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            });
            let starter = matches!(
                word.as_str(),
                "sudo"
                    | "exec"
                    | "env"
                    | "command"
                    | "time"
                    | "nice"
                    | "then"
                    | "do"
                    | "else"
                    | "if"
                    | "!"
                    | "{"
                    | "("
            );
            assignment || starter
        };
        self.words.iter().take_while(|word| passes(word)).count()
    }
}

/// Longest script that is looked at; longer ones are programs of their own.
const MAX_SCRIPT: usize = 64 << 10;

/// The commands of a script. Those of a pipeline are one command with `|` among its words, since a file's content goes
/// through all of it.
pub(super) fn commands(script: &str) -> Vec<Command> {
    let script = &script[..script.floor_char_boundary(MAX_SCRIPT)];
    let mut commands = vec![Command { words: Vec::new() }];
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = script.chars().peekable();
    let end = |word: &mut Option<String>, commands: &mut Vec<Command>| {
        if let (Some(word), Some(command)) = (word.take(), commands.last_mut()) {
            command.words.push(word);
        }
    };
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (Some('"') | None, '\\') => match chars.next() {
                Some('\n') | None => {}
                Some(c) => word.get_or_insert_default().push(c),
            },
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (None, ';' | '\n') => {
                end(&mut word, &mut commands);
                commands.push(Command { words: Vec::new() });
            }
            (None, '&' | '|') => {
                let twice = chars.next_if_eq(&c).is_some();
                end(&mut word, &mut commands);
                if c == '&' || twice {
                    commands.push(Command { words: Vec::new() });
                } else if let Some(command) = commands.last_mut() {
                    command.words.push("|".to_owned());
                }
            }
            (None, '>' | '<') => {
                // A number before it belongs to it and is no word.
                word.take_if(|w| w.bytes().all(|b| b.is_ascii_digit()));
                end(&mut word, &mut commands);
                while chars
                    .next_if(|next| matches!(next, '>' | '<' | '&' | '|' | '-'))
                    .is_some()
                {}
                if let Some(command) = commands.last_mut() {
                    command.words.push(c.to_string());
                }
            }
            (None, c) if c.is_whitespace() => end(&mut word, &mut commands),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    end(&mut word, &mut commands);
    commands.retain(|command| !command.words.is_empty());
    commands
}

#[cfg(test)]
mod tests {
    use super::commands;

    fn shown(script: &str) -> Vec<String> {
        commands(script).iter().map(|c| c.words.join(" ")).collect()
    }

    #[test]
    fn a_script_is_cut_into_commands_and_words() {
        assert_eq!(
            shown("set -e; A=1 /usr/bin/apt-get  update && \\\n apt-get install 'a b'||true"),
            [
                "set -e",
                "A=1 /usr/bin/apt-get update",
                "apt-get install a b",
                "true"
            ]
        );
        assert_eq!(
            shown("cat a 2>/dev/null | tee b >> \"c;d\""),
            ["cat a > /dev/null | tee b > c;d"]
        );
        assert_eq!(shown(" ;\n&& "), [""; 0]);
        let found = commands("A=1 sudo /usr/bin/npm ci");
        assert_eq!((found[0].program(), found[0].arguments().len()), ("npm", 1));
        assert_eq!(commands("A=1")[0].program(), "");
    }
}
