//! A command in the form in which the host writes it into the guest's root.

use std::str;

/// Where a command's standard streams go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// Output goes to the serial port that `cargo xtask vm` reads; input is empty.
    Port,
    /// All three on the interactive virtio console, which becomes the controlling terminal.
    Console,
}

/// One program to run in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Where its standard streams go.
    pub streams: Streams,
    /// Working directory; created if it does not exist.
    pub directory: String,
    /// Variables added to the guest's own environment.
    pub environment: Vec<(String, String)>,
    /// Program and arguments; never empty in a decoded command.
    pub arguments: Vec<String>,
}

/// Why an encoded command could not be read.
#[derive(Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Not UTF-8.
    Encoding,
    /// The fields end early, or one of them is invalid.
    Fields,
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DecodeError::Encoding => "the command is not UTF-8",
            DecodeError::Fields => "the command's fields are malformed",
        })
    }
}

impl std::error::Error for DecodeError {}

impl Command {
    /// Encodes the command as NUL-terminated fields (like `/proc/PID/cmdline`: no argument can contain NUL).
    pub fn encode(&self) -> Vec<u8> {
        let streams = match self.streams {
            Streams::Port => "port",
            Streams::Console => "console",
        };
        let mut fields = vec![streams.to_owned(), self.directory.clone(), self.environment.len().to_string()];
        fields.extend(self.environment.iter().map(|(name, value)| format!("{name}={value}")));
        fields.extend(self.arguments.iter().cloned());
        fields.iter().flat_map(|field| field.bytes().chain([0])).collect()
    }

    /// Reverses [`Command::encode`].
    ///
    /// # Errors
    /// [`DecodeError`] when the fields are invalid, or the command has no program.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let text = str::from_utf8(bytes).map_err(|_| DecodeError::Encoding)?;
        let mut fields = text.strip_suffix('\0').ok_or(DecodeError::Fields)?.split('\0').map(str::to_owned);
        let streams = match fields.next().as_deref() {
            Some("port") => Streams::Port,
            Some("console") => Streams::Console,
            _ => return Err(DecodeError::Fields),
        };
        let directory = fields.next().ok_or(DecodeError::Fields)?;
        let variables: usize = fields.next().and_then(|n| n.parse().ok()).ok_or(DecodeError::Fields)?;
        let mut environment = Vec::new();
        for _ in 0..variables {
            let field = fields.next().ok_or(DecodeError::Fields)?;
            let (name, value) = field.split_once('=').ok_or(DecodeError::Fields)?;
            environment.push((name.to_owned(), value.to_owned()));
        }
        let arguments: Vec<String> = fields.collect();
        if arguments.is_empty() {
            return Err(DecodeError::Fields);
        }
        Ok(Command { streams, directory, environment, arguments })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Command {
        Command {
            streams: Streams::Port,
            directory: "/work".into(),
            environment: vec![("A".into(), "1=2\n".into()), ("EMPTY".into(), String::new())],
            arguments: vec!["sh".into(), "-c".into(), "echo 'a b'\ntrue".into(), String::new()],
        }
    }

    #[test]
    fn decodes_what_it_encodes() {
        assert_eq!(Command::decode(&sample().encode()), Ok(sample()));
        let console = Command { streams: Streams::Console, environment: vec![], ..sample() };
        assert_eq!(Command::decode(&console.encode()), Ok(console));
    }

    #[test]
    fn refuses_a_command_without_a_program() {
        let nothing = Command { arguments: vec![], ..sample() };
        assert_eq!(Command::decode(&nothing.encode()), Err(DecodeError::Fields));
    }

    #[test]
    fn refuses_truncated_fields() {
        assert_eq!(Command::decode(b"port\0/\x000\0true"), Err(DecodeError::Fields));
        assert_eq!(Command::decode(b"port\0/\x002\0A=1\0"), Err(DecodeError::Fields));
        assert_eq!(Command::decode(b"\xff\0"), Err(DecodeError::Encoding));
    }
}
