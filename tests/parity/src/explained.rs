//! Lines that may differ, each with its reason: the differences from kube-proxy listed in `host/README.md` that
//! can occur with objects from this generator.

/// A line that is in only one of the two kernels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The section of the dump.
    pub section: String,
    /// The kernel that has it.
    pub side: Side,
    /// The line.
    pub line: String,
}

/// The program whose kernel has the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// weir's.
    Weir,
    /// kube-proxy's.
    KubeProxy,
}

/// A reason for a difference.
pub struct Explanation {
    /// Its number in the table in `host/README.md`.
    pub quirk: &'static str,
    /// Why.
    pub reason: &'static str,
    /// The lines it explains.
    pub explains: fn(&Difference) -> bool,
}

/// All reasons. An entry that no longer explains anything should be removed.
pub const EXPLANATIONS: &[Explanation] = &[];

/// Parses a comparison in which weir's kernel was compared with kube-proxy's.
pub fn parse(differences: &str) -> Vec<Difference> {
    let mut section = "";
    let mut parsed = Vec::new();
    for text in differences.lines() {
        let side = match text.split_once(' ') {
            Some(("##", name)) => {
                section = name;
                continue;
            }
            Some(("+", line)) => (Side::Weir, line),
            Some(("-", line)) => (Side::KubeProxy, line),
            _ => continue,
        };
        parsed.push(Difference { section: section.to_owned(), side: side.0, line: side.1.to_owned() });
    }
    parsed
}

/// Returns the lines that have no explanation, and the number of those that have one.
pub fn unexplained(differences: &str) -> (Vec<Difference>, usize) {
    let all = parse(differences);
    let count = all.len();
    let rest: Vec<Difference> =
        all.into_iter().filter(|d| !EXPLANATIONS.iter().any(|reason| (reason.explains)(d))).collect();
    let explained = count - rest.len();
    (rest, explained)
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let who = match self.side {
            Side::Weir => "only weir      ",
            Side::KubeProxy => "only kube-proxy",
        };
        write!(f, "{who}  {}: {}", self.section, self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_are_read_line_by_line() {
        let (rest, explained) =
            unexplained("## ipvs\n- -A -t 10.0.0.1:80 -s rr\n## ipset\n+ add A 10.0.0.1\n");
        let difference =
            |section: &str, side, line: &str| Difference { section: section.into(), side, line: line.into() };
        assert_eq!(
            rest,
            [
                difference("ipvs", Side::KubeProxy, "-A -t 10.0.0.1:80 -s rr"),
                difference("ipset", Side::Weir, "add A 10.0.0.1"),
            ]
        );
        assert_eq!(explained, 0);
    }
}
