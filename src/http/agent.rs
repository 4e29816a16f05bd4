//! `User-Agent`.

/// Whether a user agent says of itself that no person is behind it.
pub fn is_bot(user_agent: &str) -> bool {
    const WORDS: [&str; 10] = [
        "crawl",
        "spider",
        "slurp",
        "archiver",
        "facebookexternalhit",
        "lighthouse",
        "pingdom",
        "preview",
        "scrapy",
        "whatsapp",
    ];
    let agent = user_agent.to_ascii_lowercase();
    // Cubot is a maker of phones.
    let bot = agent.replace("cubot", "").contains("bot");
    bot || WORDS.iter().any(|word| agent.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bots_say_so_and_telephones_do_not() {
        assert!(is_bot(
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
        ));
        assert!(is_bot("facebookexternalhit/1.1"));
        assert!(!is_bot(
            "Mozilla/5.0 (Linux; Android 10; CUBOT X30) AppleWebKit/537.36"
        ));
        assert!(!is_bot("curl/8.5.0"));
        assert!(!is_bot(""));
    }
}
