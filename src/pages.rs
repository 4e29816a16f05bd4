//! The pages as an installation's own: title, colour, first view, and what they leave out. Settings say
//! it (`PAGE_TITLE` and those after it), and it is put into the pages on their way: nothing is built anew.

use std::str::FromStr;

use serde::Serialize;

use crate::topology::GLOBAL_SCOPE;
use crate::window::{CalendarFrame, Timeframe};

/// What the pages are called where nobody calls them otherwise; it stands in them nowhere but where a
/// title does.
pub const TITLE: &str = "Hitparade";
const MAX_TITLE_CHARS: usize = 64;
/// Figures above the chart.
const FIGURES: [&str; 3] = ["plays", "rate", "window"];

/// What is set otherwise than in the pages as they are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OwnPages {
    title: String,
    /// What the first view shows.
    region: String,
    timeframe: String,
    /// Whose days and times the pages show; none for each reader's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    /// Some of [`FIGURES`].
    figures: Vec<String>,
    /// Whether readers see that there are regions.
    regions: bool,
    /// What a widget is offered in.
    #[serde(skip_serializing_if = "Option::is_none")]
    accent: Option<Accent>,
}

/// A colour on light paper, and one on dark, which stays in the style sheet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
struct Accent {
    light: String,
    #[serde(skip)]
    dark: String,
}

impl OwnPages {
    /// None where nothing is set. `check_region` says what is wrong with a region that is not the world.
    ///
    /// # Errors
    /// What is wrong with a setting, as a sentence.
    pub fn read(
        setting: impl Fn(&'static str) -> Option<String>,
        check_region: impl Fn(&str) -> Result<(), String>,
    ) -> Result<Option<Self>, String> {
        let [title, accent, region, timeframe, zone, figures, regions] = [
            "PAGE_TITLE",
            "PAGE_ACCENT",
            "PAGE_REGION",
            "PAGE_TIMEFRAME",
            "TIME_ZONE",
            "PAGE_FIGURES",
            "PAGE_REGIONS",
        ]
        .map(setting);
        let all = [
            &title, &accent, &region, &timeframe, &zone, &figures, &regions,
        ];
        if all.iter().all(|given| given.is_none()) {
            return Ok(None);
        }
        Ok(Some(OwnPages {
            title: read_title(title)?,
            accent: accent.as_deref().map(read_accent).transpose()?,
            region: read_region_setting(region, check_region)?,
            timeframe: read_timeframe(timeframe)?,
            zone,
            figures: read_figures(figures.as_deref())?,
            regions: match regions.map(|word| word.to_ascii_lowercase()).as_deref() {
                None | Some("true" | "1") => true,
                Some("false" | "0") => false,
                Some(_) => return Err("PAGE_REGIONS must be one of true, false, 1, 0".into()),
            },
        }))
    }

    pub fn title(&self) -> &str {
        &self.title
    }

    /// Whether readers see that there are regions.
    pub fn shows_regions(&self) -> bool {
        self.regions
    }

    /// The text of a page with this in it; none for a file that has nothing of it.
    pub fn put_into(&self, path: &str, text: &str) -> Option<String> {
        match path {
            "/page/own.js" => {
                let values = serde_json::to_string(self).ok()?;
                Some(format!("export const OWN={values};"))
            }
            "/page/own.css" => Some(self.style()),
            _ if has_title(path) => Some(text.replace(TITLE, &escaped(&self.title))),
            _ => None,
        }
    }

    fn style(&self) -> String {
        let Some(Accent { light, dark }) = &self.accent else {
            return String::new();
        };
        let soft = "--accent-soft:color-mix(in srgb,var(--accent) 18%,var(--paper))";
        format!(
            ":root{{--accent:{light};{soft}}}\
             @media (prefers-color-scheme:dark){{:root{{--accent:{dark}}}}}"
        )
    }
}

/// Whether a file may have something of an installation's own.
pub fn may_be_own(path: &str) -> bool {
    has_title(path) || matches!(path, "/page/own.js" | "/page/own.css")
}

fn has_title(path: &str) -> bool {
    matches!(
        path,
        "/index.html"
            | "/charts.html"
            | "/widget.html"
            | "/beacon.html"
            | "/status.html"
            | "/404.html"
    )
}

fn read_title(setting: Option<String>) -> Result<String, String> {
    let title = setting.unwrap_or_else(|| TITLE.to_owned());
    if title.chars().count() > MAX_TITLE_CHARS || title.chars().any(char::is_control) {
        return Err(format!(
            "PAGE_TITLE must be a line of {MAX_TITLE_CHARS} characters at most"
        ));
    }
    Ok(title)
}

/// `#c93a17`, or `#c93a17 #ff7a54`: on light paper, and on dark.
fn read_accent(setting: &str) -> Result<Accent, String> {
    let is_colour = |word: &&str| {
        let digits = word.strip_prefix('#').unwrap_or_default();
        digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let words: Vec<&str> = setting.split_whitespace().collect();
    match words.as_slice() {
        all @ ([light] | [light, _]) if all.iter().all(is_colour) => Ok(Accent {
            light: (*light).to_owned(),
            dark: match all.get(1) {
                Some(dark) => (*dark).to_owned(),
                None => format!("color-mix(in oklab,{light} 65%,white)"),
            },
        }),
        _ => Err(
            "PAGE_ACCENT must be a colour such as #c93a17, or two: on light paper, and on dark"
                .into(),
        ),
    }
}

fn read_region_setting(
    setting: Option<String>,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<String, String> {
    let region = setting.unwrap_or_else(|| GLOBAL_SCOPE.to_owned());
    if region != GLOBAL_SCOPE {
        check(&region).map_err(|detail| format!("PAGE_REGION: {detail}"))?;
    }
    Ok(region)
}

fn read_timeframe(setting: Option<String>) -> Result<String, String> {
    let timeframe = setting.unwrap_or_else(|| "24h".to_owned());
    if CalendarFrame::of_name(&timeframe).is_some() {
        return Ok(timeframe);
    }
    let read = Timeframe::from_str(&timeframe);
    let timeframe = read.map_err(|error| format!("PAGE_TIMEFRAME: {error}"))?;
    Ok(timeframe.to_string())
}

fn read_figures(setting: Option<&str>) -> Result<Vec<String>, String> {
    let words: Vec<&str> = setting.map_or_else(
        || FIGURES.to_vec(),
        |text| {
            text.split([',', ' '])
                .filter(|word| !word.is_empty())
                .collect()
        },
    );
    let words = if words == ["none"] { Vec::new() } else { words };
    if words.iter().any(|word| !FIGURES.contains(word)) {
        let all = FIGURES.join(" ");
        return Err(format!(
            "PAGE_FIGURES must be none, or some of {all}, with spaces between them"
        ));
    }
    Ok(words.into_iter().map(str::to_owned).collect())
}

/// As text of HTML, also between quotes.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &'static str, value: &str) -> Result<Option<OwnPages>, String> {
        let setting = |asked| (asked == name).then(|| value.to_owned());
        OwnPages::read(setting, |region| match region {
            "EU" => Ok(()),
            _ => Err("there is none".into()),
        })
    }

    #[test]
    fn without_settings_the_pages_stay_as_they_are() {
        assert_eq!(read("ANOTHER", "x"), Ok(None));
        assert!(!may_be_own("/page/app.js"));
    }

    #[test]
    fn a_title_is_text_wherever_it_goes() {
        let own = read("PAGE_TITLE", r#"</title><script>"R&B'"#)
            .unwrap()
            .unwrap();
        assert_eq!(
            own.put_into("/index.html", "<title>Hitparade</title>")
                .unwrap(),
            "<title>&lt;/title&gt;&lt;script&gt;&quot;R&amp;B&#39;</title>"
        );
        assert_eq!(
            own.put_into("/page/own.js", "").unwrap(),
            r#"export const OWN={"title":"</title><script>\"R&B'","region":"global","timeframe":"24h","figures":["plays","rate","window"],"regions":true};"#
        );
        assert_eq!(own.put_into("/page/own.css", "/* */").unwrap(), "");
        assert_eq!(own.put_into("/page/app.js", "Hitparade"), None);
    }

    #[test]
    fn each_setting_shows_and_a_wrong_one_is_told_what_to_write() {
        let script = |name, value| {
            let own = read(name, value).unwrap().unwrap();
            own.put_into("/page/own.js", "").unwrap()
        };
        assert!(script("PAGE_REGION", "EU").contains(r#""region":"EU""#));
        assert!(script("PAGE_REGION", "global").contains(r#""region":"global""#));
        assert!(script("TIME_ZONE", "Europe/Berlin").contains(r#""zone":"Europe/Berlin""#));
        for timeframe in ["7d", "this-week"] {
            let text = format!(r#""timeframe":"{timeframe}""#);
            assert!(script("PAGE_TIMEFRAME", timeframe).contains(&text));
        }
        assert!(script("PAGE_FIGURES", "window, plays").contains(r#"["window","plays"]"#));
        assert!(script("PAGE_FIGURES", "none").contains(r#""figures":[]"#));
        assert!(script("PAGE_REGIONS", "False").contains(r#""regions":false"#));
        assert!(script("PAGE_ACCENT", "#0055aa #66aaff").contains(r##""accent":"#0055aa"}"##));
        let style = |value| {
            let own = read("PAGE_ACCENT", value).unwrap().unwrap();
            own.put_into("/page/own.css", "").unwrap()
        };
        assert!(style("#0055aa").contains("--accent:color-mix(in oklab,#0055aa 65%,white)"));
        assert!(style("#0055aa #66AAff").ends_with("{:root{--accent:#66AAff}}"));
        for (name, wrong) in [
            ("PAGE_TITLE", "a\nb"),
            ("PAGE_TITLE", &"x".repeat(65)),
            ("PAGE_ACCENT", "red"),
            ("PAGE_ACCENT", "#12345"),
            ("PAGE_ACCENT", "#123456;}"),
            ("PAGE_ACCENT", "#123456 #123456 #123456"),
            ("PAGE_REGION", "DE"),
            ("PAGE_TIMEFRAME", "a week"),
            ("PAGE_FIGURES", "plays likes"),
            ("PAGE_REGIONS", "no"),
        ] {
            let error = read(name, wrong).unwrap_err();
            assert!(error.starts_with(name), "{name} {wrong}: {error}");
        }
    }
}
