//! Just enough of a reader of our own markup to ask what tags a page has.

#[derive(Debug)]
pub struct Tag {
    pub name: String,
    pub attributes: Vec<(String, String)>,
}

impl Tag {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(attribute, _)| attribute == name).map(|(_, value)| value.as_str())
    }
}

/// The opening tags of a page, in order.
pub struct Markup<'a> {
    pub tags: Vec<Tag>,
    rest: &'a str,
}

impl<'a> Markup<'a> {
    pub fn of(html: &'a str) -> Markup<'a> {
        let mut markup = Markup { tags: Vec::new(), rest: html };
        while let Some(start) = markup.rest.find('<') {
            markup.rest = &markup.rest[start + 1..];
            if markup.rest.starts_with(|first: char| first.is_ascii_alphabetic()) {
                let name = markup.word();
                let attributes = markup.attributes();
                markup.tags.push(Tag { name, attributes });
            }
        }
        markup
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = &Tag> {
        self.tags.iter().filter(move |tag| tag.name == name)
    }

    pub fn count(&self, name: &str) -> usize {
        self.all(name).count()
    }

    fn word(&mut self) -> String {
        let end = self.rest.find(|c: char| c.is_whitespace() || "=>".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    fn attributes(&mut self) -> Vec<(String, String)> {
        let mut attributes = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.is_empty() || self.rest.starts_with('>') {
                return attributes;
            }
            let name = self.word();
            let value = self.value();
            attributes.push((name, value));
        }
    }

    fn value(&mut self) -> String {
        let Some(rest) = self.rest.strip_prefix('=') else { return String::new() };
        let quote = rest.chars().next().expect("an attribute that is given a value has one");
        let (value, rest) = rest[1..].split_once(quote).expect("a quoted value ends");
        self.rest = rest;
        value.to_owned()
    }
}
