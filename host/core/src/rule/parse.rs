//! Parses rules from `iptables-save` text.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Chain, ConnectionState, Match, Ports, Rule, Sense, Side, Target};
use crate::net::{Family, Protocol};

/// Parses one rule; `None` if any word of it is outside the vocabulary.
pub(super) fn parse(text: &str) -> Option<Rule> {
    let words = split(text)?;
    let mut words = words.iter().map(String::as_str);
    let mut matches = Vec::new();
    loop {
        match words.next()? {
            "-j" => {
                let target = parse_target(&mut words)?;
                return words.next().is_none().then_some(Rule::Known(matches, target));
            }
            "-g" => {
                let name = words.next()?;
                let target = Target::Goto(*Chain::ALL.iter().find(|c| c.name() == name)?);
                return words.next().is_none().then_some(Rule::Known(matches, target));
            }
            "!" => {
                let word = words.next()?;
                matches.push(parse_plain(Sense::Not, word, &mut words)?);
            }
            "-m" => {
                let module = words.next()?;
                matches.push(parse_module(module, &mut words)?);
            }
            word => matches.push(parse_plain(Sense::Is, word, &mut words)?),
        }
    }
}

/// Splits at blanks; a quoted word may contain blanks and backslash escapes.
fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        if c == ' ' {
            chars.next();
            continue;
        }
        let quoted = c == '"';
        if quoted {
            chars.next();
        }
        let mut word = String::new();
        loop {
            match chars.next() {
                Some('"') if quoted => break,
                Some('\\') if quoted => word.push(chars.next()?),
                Some(' ') if !quoted => break,
                Some(c) => word.push(c),
                None if quoted => return None,
                None => break,
            }
        }
        words.push(word);
    }
    Some(words)
}

fn parse_plain<'a>(sense: Sense, word: &str, words: &mut impl Iterator<Item = &'a str>) -> Option<Match> {
    match (word, sense) {
        ("-s", _) => Some(Match::Source(sense, parse_net(words.next()?)?)),
        ("-i", _) => Some(Match::InInterface(sense, words.next()?.to_owned())),
        ("-p", Sense::Is) => Some(Match::Protocol(words.next()?.parse().ok()?)),
        _ => None,
    }
}

fn parse_net(text: &str) -> Option<IpNet> {
    match text.parse() {
        Ok(net) => Some(net),
        // Newer versions print a single address without its prefix length.
        Err(_) => text.parse::<IpAddr>().ok().map(IpNet::from),
    }
}

fn parse_module<'a>(module: &str, words: &mut impl Iterator<Item = &'a str>) -> Option<Match> {
    let mut word = words.next()?;
    let mut sense = Sense::Is;
    if word == "!" {
        sense = Sense::Not;
        word = words.next()?;
    }
    match (module, word, sense) {
        ("comment", "--comment", Sense::Is) => Some(Match::Comment(Cow::Owned(words.next()?.to_owned()))),
        ("set", "--match-set", _) => {
            let name = words.next()?.to_owned();
            let sides = words.next()?.split(',').map(parse_side).collect::<Option<Vec<Side>>>()?;
            Some(Match::Set(sense, name, sides))
        }
        ("mark", "--mark", _) => {
            let (value, mask) = parse_mark(words.next()?)?;
            Some(Match::Mark(sense, value, mask))
        }
        ("addrtype", "--dst-type", _) if words.next()? == "LOCAL" => {
            Some(Match::LocalAddress(sense, Side::Destination))
        }
        ("addrtype", "--src-type", _) if words.next()? == "LOCAL" => {
            Some(Match::LocalAddress(sense, Side::Source))
        }
        ("physdev", "--physdev-is-in", _) => Some(Match::BridgedIn(sense)),
        ("conntrack", "--ctstate", Sense::Is) => {
            let states = words.next()?.split(',').map(parse_state).collect::<Option<Vec<_>>>()?;
            Some(Match::ConnectionState(states))
        }
        ("ipvs", "--vproto", Sense::Is) => {
            let protocol = Protocol::from_number(words.next()?.parse().ok()?)?;
            let address = expect(words, "--vaddr")?.parse().ok()?;
            let port = expect(words, "--vport")?.parse().ok()?;
            Some(Match::VirtualServer(protocol, address, port))
        }
        _ => None,
    }
}

/// The word after `option`, which must come next.
fn expect<'a>(words: &mut impl Iterator<Item = &'a str>, option: &str) -> Option<&'a str> {
    if words.next()? == option { words.next() } else { None }
}

fn parse_side(text: &str) -> Option<Side> {
    match text {
        "src" => Some(Side::Source),
        "dst" => Some(Side::Destination),
        _ => None,
    }
}

fn parse_state(text: &str) -> Option<ConnectionState> {
    ConnectionState::ALL.into_iter().find(|s| s.name() == text)
}

fn parse_mark(text: &str) -> Option<(u32, u32)> {
    let (value, mask) = text.split_once('/')?;
    Some((parse_hex(value)?, parse_hex(mask)?))
}

fn parse_hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn parse_target<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Target> {
    match words.next()? {
        "ACCEPT" => Some(Target::Accept),
        "DROP" => Some(Target::Drop),
        "RETURN" => Some(Target::Return),
        "REJECT" => match expect(words, "--reject-with")? {
            "icmp-port-unreachable" => Some(Target::Reject(Family::V4)),
            "icmp6-port-unreachable" => Some(Target::Reject(Family::V6)),
            _ => None,
        },
        "MASQUERADE" => match words.next() {
            None => Some(Target::Masquerade(Ports::Kept)),
            Some("--random-fully") => Some(Target::Masquerade(Ports::Random)),
            Some(_) => None,
        },
        "MARK" => {
            let (value, mask) = parse_mark(expect(words, "--set-xmark")?)?;
            Some(Target::SetMark(value, mask))
        }
        "SNAT" => {
            let address = expect(words, "--to-source")?.parse().ok()?;
            match words.next() {
                None => Some(Target::Snat(address, Ports::Kept)),
                Some("--random-fully") => Some(Target::Snat(address, Ports::Random)),
                Some(_) => None,
            }
        }
        name => Chain::ALL.iter().find(|c| c.name() == name).map(|c| Target::Jump(*c)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_rules_are_read_and_printed_back() {
        for text in [
            r#"-m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-FILTER"#,
            r#"-m conntrack --ctstate NEW -m set --match-set KUBE-IPVS-IPS dst -j REJECT --reject-with icmp-port-unreachable"#,
            r#"-s 198.51.100.1/32 -m ipvs --vproto 6 --vaddr 198.51.100.1 --vport 443 -j DROP"#,
            r#"-m mark ! --mark 0x4000/0x4000 -j RETURN"#,
            r#"-j MARK --set-xmark 0x4000/0x0"#,
            r#"-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully"#,
            r#"! -s 10.244.0.0/16 -m comment --comment "x" -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ"#,
            r#"! -i cbr0 -m comment --comment "x" -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ"#,
            r#"-p sctp -m comment --comment "a \'hash ip:port\'" -m set --match-set KUBE-NODE-PORT-SCTP-HASH dst,dst -j RETURN"#,
            r#"-m set --match-set KUBE-EXTERNAL-IP dst,dst -m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j ACCEPT"#,
            r#"-m addrtype --dst-type LOCAL -j KUBE-NODE-PORT"#,
            r#"-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"#,
            r#"-m set --match-set WEIR-MASQ dst,dst -g WEIR-MASQUERADE"#,
            r#"-m set --match-set WEIR-SOURCE-LIMITED dst,dst -m set ! --match-set WEIR-SOURCE-ALLOW dst,dst,src -j DROP"#,
            r#"-m mark ! --mark 0x0/0x3000 -j WEIR-POSTROUTING"#,
            r#"-j SNAT --to-source 192.0.2.1 --random-fully"#,
            r#"-j SNAT --to-source 2001:db8::1"#,
        ] {
            let rule = Rule::parse(text);
            assert!(matches!(rule, Rule::Known(..)), "{text}");
            assert_eq!(rule.to_string(), text);
        }
    }

    #[test]
    fn other_rules_stay_as_they_are() {
        for text in [
            "-p tcp -m tcp --dport 22 -j ACCEPT",
            "-j CNI-FORWARD",
            "-m comment --comment \"open",
            "-g X",
            "",
        ] {
            assert_eq!(Rule::parse(text), Rule::Foreign(text.to_owned()));
        }
    }

    #[test]
    fn the_sets_of_other_rules_are_known() {
        let rule = Rule::parse("-p tcp -m set ! --match-set A src -m tcp --dport 22 -j SET --add-set B src");
        assert_eq!(rule.sets().collect::<Vec<_>>(), ["A", "B"]);
        let rule = Rule::parse("-m set --match-set A dst,dst -j ACCEPT");
        assert_eq!(rule.sets().collect::<Vec<_>>(), ["A"]);
    }
}
