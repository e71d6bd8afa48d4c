//! The processor architectures that weir is built for.

use std::fmt;

use clap::ValueEnum;

/// An architecture, under its name in Debian and in container images. The first is this machine's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Architecture {
    #[default]
    Amd64,
    Arm64,
}

impl Architecture {
    /// The architecture that needs no cross-compiler; `cargo xtask setup` refuses to run on others.
    pub(crate) const HOST: Architecture = Architecture::Amd64;

    pub(crate) fn name(self) -> &'static str {
        match self {
            Architecture::Amd64 => "amd64",
            Architecture::Arm64 => "arm64",
        }
    }

    /// Appended to the names of files that exist for each architecture.
    pub(crate) fn suffix(self) -> String {
        if self == Architecture::HOST { String::new() } else { format!("-{self}") }
    }

    /// Rust's name for it.
    pub(crate) fn target(self) -> &'static str {
        match self {
            Architecture::Amd64 => "x86_64-unknown-linux-gnu",
            Architecture::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The name in Debian's library directories and cross-compilers.
    pub(crate) fn tuple(self) -> &'static str {
        match self {
            Architecture::Amd64 => "x86_64-linux-gnu",
            Architecture::Arm64 => "aarch64-linux-gnu",
        }
    }

    pub(crate) fn qemu(self) -> &'static str {
        match self {
            Architecture::Amd64 => "qemu-system-x86_64",
            Architecture::Arm64 => "qemu-system-aarch64",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
