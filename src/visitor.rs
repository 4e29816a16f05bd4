//! Where a request comes from: its visitor's address, country and continent.
//!
//! Whoever connects is known by the address of the socket, which nobody can choose. What headers say
//! is believed of a proxy that `TRUSTED_PROXIES` names, and of nobody else. A proxy writes the address
//! that connected to it behind those that it was sent, so the list is read from its right end: the
//! first address that is no trusted proxy is the visitor. What stands left of it the visitor may
//! have made up, and is not looked at.
//!
//! # At its limits
//! [`MAX_RANGES`] ranges are compared with at most [`MAX_HOPS`] entries of a list; entries beyond these
//! are not read, and the last proxy that was is taken for the visitor.

use std::hash::Hasher;
use std::net::IpAddr;

use ipnet::IpNet;
use siphasher::sip::SipHasher13;

use crate::window::DAY_MS;

/// Ranges of proxies. The large networks that sit in front of others publish some twenty each.
const MAX_RANGES: usize = 256;
/// Trusted proxies in a row.
const MAX_HOPS: usize = 16;

/// The names of the settings.
const TRUSTED_PROXIES: &str = "TRUSTED_PROXIES";
const HEADER_SETTINGS: [&str; 3] = [
    "CLIENT_ADDRESS_HEADER",
    "COUNTRY_HEADER",
    "CONTINENT_HEADER",
];

/// What a runtime or a proxy says of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visitor {
    pub address: Option<String>,
    pub country: Option<String>,
    pub continent: Option<String>,
}

/// The proxies that are believed, and in which headers they say what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxies {
    ranges: Vec<IpNet>,
    headers: [Option<String>; 3],
}

impl Proxies {
    /// Reads the settings; `None` where none of them is set.
    ///
    /// # Errors
    /// What is wrong with them and what to write, as a sentence.
    pub fn read(setting: impl Fn(&'static str) -> Option<String>) -> Result<Option<Self>, String> {
        let headers = HEADER_SETTINGS.map(&setting);
        for (name, header) in HEADER_SETTINGS.iter().zip(&headers) {
            if let Some(header) = header {
                check_header(name, header)?;
            }
        }
        let named = HEADER_SETTINGS.iter().zip(&headers);
        let named = named
            .filter(|(_, header)| header.is_some())
            .map(|(name, _)| *name);
        let named = named.collect::<Vec<_>>().join(" and ");
        match (setting(TRUSTED_PROXIES), named.is_empty()) {
            (None, true) => Ok(None),
            (None, false) => Err(format!(
                "{named}: anybody can send a header, so name the proxies that are believed: \
                 {TRUSTED_PROXIES} = \"127.0.0.1\""
            )),
            (Some(_), true) => Err(format!(
                "{TRUSTED_PROXIES} says who is believed, and nothing says what: name the header that \
                 they write, CLIENT_ADDRESS_HEADER = \"X-Forwarded-For\""
            )),
            (Some(ranges), false) => Ok(Some(Proxies {
                ranges: read_ranges(&ranges)?,
                headers,
            })),
        }
    }

    /// The names of the headers for address, country and continent.
    pub fn headers(&self) -> [Option<&str>; 3] {
        self.headers.each_ref().map(Option::as_deref)
    }

    /// Who sends a request: `seen` is what the runtime saw, `headers` what [`Self::headers`] say.
    /// Several headers of one name come as one list, in their order.
    pub fn visitor(&self, seen: Visitor, headers: [Option<&str>; 3]) -> Visitor {
        let peer = seen.address.as_deref().and_then(address_of);
        let Some(peer) = peer.filter(|peer| self.trusts(*peer)) else {
            return seen;
        };
        let [addresses, country, continent] = headers;
        let said = |header: Option<&str>| code_of(last_of(header?));
        // Where a proxy is to tell, what the runtime saw is where the proxy stands.
        let tells = self.headers[1].is_some() || self.headers[2].is_some();
        let (country, continent) = match tells {
            true => (said(country), said(continent)),
            false => (seen.country, seen.continent),
        };
        Visitor {
            address: Some(self.behind(peer, addresses).to_string()),
            country,
            continent,
        }
    }

    /// The address of [`Self::visitor`] alone.
    pub fn address(&self, peer: &str, addresses: Option<&str>) -> String {
        match address_of(peer).filter(|peer| self.trusts(*peer)) {
            Some(peer) => self.behind(peer, addresses).to_string(),
            None => peer.to_owned(),
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(&address))
    }

    /// The last address before the trusted proxies. What a trusted one did not say is not guessed:
    /// then it is the visitor itself.
    fn behind(&self, peer: IpAddr, addresses: Option<&str>) -> IpAddr {
        if self.headers[0].is_none() {
            return peer;
        }
        let mut nearest = peer;
        for entry in addresses.unwrap_or_default().rsplit(',').take(MAX_HOPS) {
            match address_of(entry) {
                Some(address) => nearest = address,
                None => break,
            }
            if !self.trusts(nearest) {
                break;
            }
        }
        nearest
    }
}

fn read_ranges(setting: &str) -> Result<Vec<IpNet>, String> {
    let words = setting.split([',', ' ', '\t', '\n']);
    let words = words.filter(|word| !word.is_empty());
    let ranges: Vec<IpNet> = words.map(read_range).collect::<Result<_, _>>()?;
    match ranges.len() {
        0 => Err(format!("{TRUSTED_PROXIES} names nobody")),
        1..=MAX_RANGES => Ok(ranges),
        _ => Err(format!(
            "{TRUSTED_PROXIES} has more than {MAX_RANGES} ranges; name larger ones"
        )),
    }
}

fn read_range(word: &str) -> Result<IpNet, String> {
    let wrong = |hint: &str| Err(format!("{TRUSTED_PROXIES}: {word:?} {hint}"));
    let address = word.parse().map(|address: IpAddr| IpNet::from(address));
    let Ok(range) = word.parse::<IpNet>().or(address) else {
        return wrong("is neither an address nor a range; write 127.0.0.1, 10.0.0.0/8, fd00::/8");
    };
    if range.prefix_len() == 0 {
        return wrong("is everybody, who could then claim to be anybody; name your proxies");
    }
    if matches!(range.addr(), IpAddr::V6(address) if address.to_ipv4_mapped().is_some()) {
        return wrong("is of IPv4, written as of IPv6; write it as 192.0.2.0/24");
    }
    if range != range.trunc() {
        return wrong(&format!(
            "has bits behind the first {}; write {}",
            range.prefix_len(),
            range.trunc()
        ));
    }
    Ok(range)
}

fn check_header(name: &str, header: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if header.is_empty() || !header.bytes().all(is_plain) {
        return Err(format!(
            "{name} must be the name of a header, such as X-Forwarded-For"
        ));
    }
    if header.eq_ignore_ascii_case("Forwarded") {
        return Err(format!(
            "{name}: Forwarded has a grammar of its own and is not read; let the proxy write \
             X-Forwarded-For"
        ));
    }
    Ok(())
}

/// The entry of a list that was written last.
fn last_of(list: &str) -> &str {
    list.rsplit(',').next().unwrap_or_default()
}

/// A country or a continent: two letters, which are neither "unknown" nor a way to hide.
fn code_of(text: &str) -> Option<String> {
    let code = text.trim();
    let is_code = code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_alphabetic());
    let code = code.to_ascii_uppercase();
    (is_code && code != "XX" && code != "ZZ").then_some(code)
}

/// Who sends from an address, for today: an IPv6 sender is its network of 64 bits, since a
/// subscriber has all of it.
pub fn sender(address: &str, seed: &[u8; 16], now_ms: u64) -> u64 {
    let mut hasher = SipHasher13::new_with_key(seed);
    hasher.write_u64(now_ms / DAY_MS);
    // The bare runtime names the port too, which differs by connection.
    match address_of(address) {
        Some(IpAddr::V4(address)) => hasher.write(&address.octets()),
        Some(IpAddr::V6(address)) => {
            hasher.write(address.octets().first_chunk::<8>().unwrap_or(&[0; 8]));
        }
        None => hasher.write(address.as_bytes()),
    }
    hasher.finish()
}

/// An address as runtimes and proxies write it: with or without a port, brackets and a zone. One of
/// IPv4 that is written as of IPv6 is that of IPv4.
pub fn address_of(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let (host, port) = match (text.strip_prefix('['), text.find(':')) {
        (Some(rest), _) => rest.split_once(']')?,
        // Two colons are an address of IPv6 without brackets, and so without a port.
        (None, Some(colon)) if text.rfind(':') == Some(colon) => text.split_at(colon),
        (None, _) => (text, ""),
    };
    if !port.is_empty() {
        port.strip_prefix(':')?.parse::<u16>().ok()?;
    }
    let address = match host.split_once('%') {
        Some((address, _)) => IpAddr::V6(address.parse().ok()?),
        None => host.parse().ok()?,
    };
    Some(address.to_canonical())
}

/// Countries by continent (ISO 3166-1, and Kosovo as `XK`). Where a country lies in two, it is where
/// most databases have it; `EU` and `AP` are how some write "somewhere in Europe" and "in Asia".
const CONTINENTS: [(&str, &str); 7] = [
    (
        "AF",
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG \
         ML MR MU MW MZ NA NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
    ),
    ("AN", "AQ BV GS HM TF"),
    (
        "AS",
        "AE AF AM AP AZ BD BH BN BT CC CN CX GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB \
         LK MM MN MO MV MY NP OM PH PK PS QA SA SG SY TH TJ TL TM TR TW UZ VN YE",
    ),
    (
        "EU",
        "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES EU FI FO FR GB GG GI GR HR HU IE IM IS IT JE \
         LI LT LU LV MC MD ME MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK",
    ),
    (
        "NA",
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI \
         PA PM PR SV SX TC TT US VC VG VI",
    ),
    (
        "OC",
        "AS AU CK FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TO TV UM VU WF WS",
    ),
    ("SA", "AR BO BR CL CO EC FK GF GY PE PY SR UY VE"),
];

/// The codes of the continents.
pub fn continents() -> [&'static str; 7] {
    CONTINENTS.map(|(continent, _)| continent)
}

/// The continent of a country, for who says only that.
pub fn continent_of(country: &str) -> Option<&'static str> {
    let has = |countries: &str| {
        let mut countries = countries.split(' ');
        countries.any(|listed| listed.eq_ignore_ascii_case(country))
    };
    let found = CONTINENTS.iter().find(|(_, countries)| has(countries));
    found.map(|(continent, _)| *continent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn proxies(trusted: &str) -> Proxies {
        let read = Proxies::read(|name| match name {
            "TRUSTED_PROXIES" => Some(trusted.to_owned()),
            "CLIENT_ADDRESS_HEADER" => Some("X-Forwarded-For".to_owned()),
            "COUNTRY_HEADER" => Some("X-Country".to_owned()),
            _ => None,
        });
        read.unwrap().unwrap()
    }

    fn at(address: &str) -> Visitor {
        Visitor {
            address: Some(address.to_owned()),
            country: Some("IS".to_owned()),
            continent: Some("EU".to_owned()),
        }
    }

    const SEED: [u8; 16] = [7; 16];

    #[test]
    fn an_ipv6_network_is_one_sender_and_no_sender_lasts_a_day() {
        let of = |address| sender(address, &SEED, 0);
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1:5001"), of("192.0.2.1"));
        assert_eq!(of("[2001:db8:1:2::1]:5001"), of("2001:db8:1:2::7"));
        assert_ne!(of("192.0.2.1"), sender("192.0.2.1", &SEED, DAY_MS));
    }

    proptest! {
        #[test]
        fn any_address_has_a_sender(address: String) {
            sender(&address, &SEED, 0);
        }
    }

    #[test]
    fn the_visitor_is_the_right_most_address_that_is_no_trusted_proxy() {
        let proxies = proxies("127.0.0.1, 10.0.0.0/8 fd00::/8");
        for (list, visitor) in [
            ("203.0.113.7", "203.0.113.7"),
            ("8.8.8.8, 203.0.113.7", "203.0.113.7"),
            ("8.8.8.8,203.0.113.7 , 10.1.2.3", "203.0.113.7"),
            (
                "8.8.8.8, 203.0.113.7, 10.1.2.3, fd00::1, 127.0.0.1",
                "203.0.113.7",
            ),
            ("203.0.113.7:51234", "203.0.113.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:443, [fd00::1]:80", "2001:db8::7"),
            ("2001:DB8:0:0::7", "2001:db8::7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("203.0.113.7, ::ffff:10.1.2.3", "203.0.113.7"),
            ("[::ffff:203.0.113.7]:80", "203.0.113.7"),
            ("fe80::7%eth0", "fe80::7"),
            ("[fe80::7%25eth0]:80", "fe80::7"),
            // All are trusted: the first of them asks for itself.
            ("10.1.1.1, 10.1.2.3", "10.1.1.1"),
            // What a proxy did not say is not guessed.
            ("", "127.0.0.1"),
            ("unknown", "127.0.0.1"),
            ("203.0.113.7, unknown", "127.0.0.1"),
            ("203.0.113.7, , 10.1.2.3", "10.1.2.3"),
            ("203.0.113.7,", "127.0.0.1"),
            ("garbage, 10.1.2.3", "10.1.2.3"),
        ] {
            let found = proxies.visitor(at("127.0.0.1:40000"), [Some(list), None, None]);
            assert_eq!(found.address.as_deref(), Some(visitor), "{list:?}");
            assert_eq!(proxies.address("127.0.0.1:40000", Some(list)), visitor);
        }
        assert_eq!(
            proxies.address("[::ffff:127.0.0.1]:1", Some("1.2.3.4")),
            "1.2.3.4"
        );
        assert_eq!(proxies.address("127.0.0.1:1", None), "127.0.0.1");
    }

    #[test]
    fn headers_of_anybody_else_say_nothing() {
        let proxies = proxies("127.0.0.1 10.0.0.0/8");
        let headers = [Some("1.2.3.4"), Some("FR"), None];
        for peer in [
            "127.0.0.2:9",
            "203.0.113.7",
            "[::1]:9",
            "11.0.0.1",
            "",
            "garbage",
        ] {
            assert_eq!(proxies.visitor(at(peer), headers), at(peer), "{peer:?}");
            assert_eq!(proxies.address(peer, headers[0]), peer);
        }
        let nowhere = Visitor::default();
        assert_eq!(proxies.visitor(nowhere.clone(), headers), nowhere);
    }

    #[test]
    fn a_country_is_what_the_nearest_proxy_says_and_never_that_of_the_proxy() {
        let proxies = proxies("127.0.0.1");
        let country = |header: Option<&str>| {
            let found = proxies.visitor(at("127.0.0.1:9"), [Some("1.2.3.4"), header, None]);
            assert_eq!(found.continent, None);
            found.country
        };
        for (header, said) in [
            (Some("DE"), Some("DE")),
            (Some(" de "), Some("DE")),
            // The visitor's own comes before that of a proxy that adds instead of setting.
            (Some("FR, DE"), Some("DE")),
            (Some("FR, "), None),
            (Some("XX"), None),
            (Some("-"), None),
            (Some("DEU"), None),
            (Some("D\u{c9}"), None),
            (Some(""), None),
            (None, None),
        ] {
            assert_eq!(country(header).as_deref(), said, "{header:?}");
        }
        let only_address = Proxies::read(|name| match name {
            "TRUSTED_PROXIES" => Some("127.0.0.1".to_owned()),
            "CLIENT_ADDRESS_HEADER" => Some("X-Real-IP".to_owned()),
            _ => None,
        });
        let only_address = only_address.unwrap().unwrap();
        assert_eq!(only_address.headers(), [Some("X-Real-IP"), None, None]);
        let found = only_address.visitor(at("127.0.0.1:9"), [Some("1.2.3.4"), None, None]);
        assert_eq!(found, at("1.2.3.4"));
    }

    #[test]
    fn settings_say_what_is_wrong_and_what_to_write() {
        let read = |settings: &[(&str, &str)]| {
            Proxies::read(|asked| {
                let found = settings.iter().find(|(name, _)| *name == asked);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let forwarded = ("CLIENT_ADDRESS_HEADER", "X-Forwarded-For");
        let with = |ranges| read(&[forwarded, ("TRUSTED_PROXIES", ranges)]);
        assert_eq!(read(&[]), Ok(None));
        for ranges in [
            "127.0.0.1",
            "::1,10.0.0.0/8\nfd00::/8",
            "192.0.2.0/31",
            "128.0.0.0/1",
        ] {
            assert!(with(ranges).is_ok(), "{ranges}");
        }
        let many = "10.0.0.1 ".repeat(MAX_RANGES + 1);
        for (ranges, advice) in [
            ("proxy.example", "neither an address nor a range"),
            ("10.0.0.0/33", "neither an address nor a range"),
            ("10.0.0.0/", "neither an address nor a range"),
            ("::/129", "neither an address nor a range"),
            ("0.0.0.0/0", "is everybody"),
            ("::/0", "is everybody"),
            ("10.0.0.1/8", "write 10.0.0.0/8"),
            ("::ffff:10.0.0.0/104", "write it as"),
            (" , ", "names nobody"),
            (&many, "name larger ones"),
        ] {
            let error = with(ranges).unwrap_err();
            assert!(error.starts_with("TRUSTED_PROXIES"), "{error}");
            assert!(error.contains(advice), "{ranges}: {error}");
        }
        let error = read(&[("TRUSTED_PROXIES", "10.0.0.1")]).unwrap_err();
        assert!(error.contains("CLIENT_ADDRESS_HEADER = "), "{error}");
        for name in HEADER_SETTINGS {
            let error = read(&[(name, "X-Y")]).unwrap_err();
            assert!(error.starts_with(name), "{error}");
            assert!(error.contains("TRUSTED_PROXIES = "), "{error}");
            for (header, advice) in [
                ("X Y", "the name of a header"),
                ("é", "the name of"),
                ("forwarded", "X-Forwarded-For"),
            ] {
                let error = read(&[(name, header), ("TRUSTED_PROXIES", "10.0.0.1")]).unwrap_err();
                assert!(error.starts_with(name) && error.contains(advice), "{error}");
            }
        }
    }

    #[test]
    fn every_country_lies_on_one_continent() {
        let all: Vec<&str> = CONTINENTS
            .iter()
            .flat_map(|(_, list)| list.split(' '))
            .collect();
        let one_of_each: std::collections::BTreeSet<&str> = all.iter().copied().collect();
        assert_eq!(all.len(), one_of_each.len());
        // 249 of ISO 3166-1, Kosovo, "somewhere in Europe" and "in Asia".
        assert_eq!(all.len(), 252);
        assert!(
            all.iter()
                .all(|code| code_of(code).as_deref() == Some(code))
        );
        for (country, continent) in [
            ("na", "AF"),
            ("DE", "EU"),
            ("US", "NA"),
            ("AQ", "AN"),
            ("BR", "SA"),
        ] {
            assert_eq!(continent_of(country), Some(continent));
        }
        for nowhere in ["", "T1", "XX", "D", "DE US"] {
            assert_eq!(continent_of(nowhere), None, "{nowhere:?}");
        }
    }

    proptest! {
        /// Whatever a visitor writes, in front of what a trusted proxy adds, changes nothing.
        #[test]
        fn nothing_that_a_visitor_sends_changes_who_it_is(
            forged in "[0-9a-f:., %\\[\\]\"-]{0,60}|\\PC{0,40}",
            visitor in any::<[u8; 4]>().prop_filter("is no proxy", |it| it[0] != 10),
            hops in proptest::collection::vec(any::<[u8; 3]>(), 0..4),
            port in proptest::option::of(any::<u16>()),
        ) {
            let proxies = proxies("10.0.0.0/8");
            let visitor = IpAddr::from(visitor).to_string();
            let port = port.map_or(String::new(), |port| format!(":{port}"));
            let hops = hops.iter().map(|[a, b, c]| format!(", 10.{a}.{b}.{c}"));
            let list = format!("{forged}, {visitor}{port}{}", hops.collect::<String>());
            prop_assert_eq!(proxies.address("10.0.0.1:80", Some(&list)), visitor.clone());
            // One that is no proxy is who it is, whatever it says.
            prop_assert_eq!(proxies.address(&visitor, Some(&forged)), visitor);
        }

        #[test]
        fn a_range_has_the_addresses_that_begin_as_it_does(
            address in any::<u32>(), other in any::<u32>(), bits in 1_u32..=32,
        ) {
            let first = address >> (32 - bits) << (32 - bits);
            let of = |number: u32| IpAddr::V4(number.into());
            let range = read_range(&format!("{}/{bits}", of(first))).unwrap();
            prop_assert!(range.contains(&of(address)));
            prop_assert_eq!(range.contains(&of(other)), (other ^ first) >> (32 - bits) == 0);
            prop_assert!(!range.contains(&IpAddr::V6(u128::from(address).into())));
        }
    }
}
