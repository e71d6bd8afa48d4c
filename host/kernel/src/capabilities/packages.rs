//! The package with the kernel modules that a minimal installation lacks.
//!
//! The kernel release identifies the distribution that built it, even inside a container, whose /etc/os-release
//! belongs to the image. Only if the release identifies no distribution, os-release is read: the host's if the host's
//! process 1 is visible, otherwise the one of this file system.

use std::fs;

/// How to install more modules for the running kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Package {
    /// The command, or what to do where there is no package.
    pub(super) install: String,
}

/// Kernel builders, grouped by what their packages contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Builder {
    /// Red Hat Enterprise Linux from 10 on and its rebuilds, Amazon Linux 2023.
    Extra,
    /// The same before version 10, and Fedora.
    ModulesAndExtra,
    Ubuntu,
    Debian,
    Suse,
    Alpine,
    Unknown,
}

impl Package {
    pub(super) fn of(release: &str) -> Package {
        let builder = match builder(release) {
            Builder::Unknown => {
                let read = |file: &str| fs::read_to_string(file).ok();
                let text = read("/proc/1/root/etc/os-release").or_else(|| read("/etc/os-release"));
                builder_of_system(&text.unwrap_or_default())
            }
            known => known,
        };
        let install = match builder {
            Builder::Extra => format!("run `dnf install kernel-modules-extra-{release}`"),
            Builder::ModulesAndExtra => {
                format!("run `dnf install kernel-modules-{release} kernel-modules-extra-{release}`")
            }
            Builder::Ubuntu => format!("run `apt-get install linux-modules-extra-{release}`"),
            // Debian's cloud kernel lacks only drivers; everything else is in the kernel's own package.
            Builder::Debian => format!("run `apt-get install --reinstall linux-image-{release}`"),
            Builder::Suse => "run `zypper install kernel-default` to replace kernel-default-base".to_owned(),
            Builder::Alpine => "run `apk add linux-lts` to replace linux-virt".to_owned(),
            Builder::Unknown => format!("install the package with all modules of Linux {release}"),
        };
        Package { install }
    }

    /// What to do about a missing module.
    pub(super) fn fix(&self, module: &str) -> String {
        format!("{} on the node, then `modprobe {module}`", self.install)
    }
}

fn builder(release: &str) -> Builder {
    let has = |part: &str| release.contains(part);
    // ".el9_5.x86_64", ".el10_0.aarch64+64k", ".fc42.x86_64", ".amzn2023.x86_64"
    if let Some((_, rest)) = release.split_once(".el") {
        let major: String = rest.chars().take_while(char::is_ascii_digit).collect();
        return if major.parse::<u32>().is_ok_and(|major| major >= 10) {
            Builder::Extra
        } else {
            Builder::ModulesAndExtra
        };
    }
    if has(".amzn2023") {
        Builder::Extra
    } else if has(".fc") {
        Builder::ModulesAndExtra
    } else if ["-generic", "-aws", "-azure", "-gcp", "-oracle", "-lowlatency", "-kvm", "-raspi"]
        .iter()
        .any(|f| has(f))
    {
        Builder::Ubuntu
    } else if release.ends_with("-amd64") || release.ends_with("-arm64") {
        Builder::Debian
    } else if release.ends_with("-default") {
        Builder::Suse
    } else if release.ends_with("-virt") || release.ends_with("-lts") {
        Builder::Alpine
    } else {
        Builder::Unknown
    }
}

/// By `ID` and `ID_LIKE` of os-release(5).
fn builder_of_system(text: &str) -> Builder {
    let value = |key: &str| {
        text.lines()
            .find_map(|line| Some(line.strip_prefix(key)?.strip_prefix('=')?.trim_matches(['"', '\''])))
    };
    let major = value("VERSION_ID").and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    let words = [value("ID"), value("ID_LIKE")].into_iter().flatten().flat_map(|ids| ids.split(' '));
    words
        .map(|id| match id {
            "rhel" | "centos" | "rocky" | "almalinux" if major.is_some_and(|major| major >= 10) => {
                Builder::Extra
            }
            "rhel" | "centos" | "rocky" | "almalinux" | "fedora" => Builder::ModulesAndExtra,
            "ubuntu" => Builder::Ubuntu,
            "debian" => Builder::Debian,
            "suse" | "opensuse" | "sles" | "opensuse-leap" => Builder::Suse,
            "alpine" => Builder::Alpine,
            _ => Builder::Unknown,
        })
        .find(|builder| *builder != Builder::Unknown)
        .unwrap_or(Builder::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_of_the_kernel_reports_the_package() {
        let fix = |release| Package::of(release).fix("xt_set");
        for (release, command) in [
            ("6.12.0-55.9.1.el10_0.x86_64", "dnf install kernel-modules-extra-6.12.0-55.9.1.el10_0.x86_64`"),
            (
                "5.14.0-503.el9.x86_64",
                "kernel-modules-5.14.0-503.el9.x86_64 kernel-modules-extra-5.14.0-503.el9.x86_64",
            ),
            ("6.1.141-155.amzn2023.x86_64", "kernel-modules-extra-6.1.141"),
            ("6.8.0-60-generic", "apt-get install linux-modules-extra-6.8.0-60-generic"),
            ("6.8.0-1029-aws", "linux-modules-extra-6.8.0-1029-aws"),
            ("6.1.0-38-cloud-amd64", "linux-image-6.1.0-38-cloud-amd64"),
            ("6.4.0-150600.23-default", "kernel-default"),
            ("6.12.31-0-virt", "linux-lts"),
        ] {
            assert!(fix(release).contains(command), "{}", fix(release));
            assert!(fix(release).ends_with("`modprobe xt_set`"));
        }
    }

    #[test]
    fn os_release_is_read_where_the_kernel_says_nothing() {
        let rocky = "NAME=\"Rocky Linux\"\nVERSION=\"10.0\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"10.0\"\n";
        assert_eq!(builder_of_system(rocky), Builder::Extra);
        assert_eq!(builder_of_system(&rocky.replace("10.0", "9.5")), Builder::ModulesAndExtra);
        assert_eq!(builder_of_system("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"), Builder::Ubuntu);
        assert_eq!(builder_of_system("ID=debian\n"), Builder::Debian);
        assert_eq!(builder_of_system("ID=talos\n"), Builder::Unknown);
    }
}
