//! Commands as the texts for operators have them, so that a test runs what is written there.

/// The code of a text that starts so, as it stands there, without its comment.
pub fn command_of(text: &str, starts: &str) -> String {
    let lines = text.lines().map(str::trim);
    let spans = text.split('`').skip(1).step_by(2);
    let found = lines.chain(spans).find(|code| code.starts_with(starts));
    let found = found.unwrap_or_else(|| panic!("the text does not say {starts}"));
    found.split(" #").next().unwrap().trim().to_owned()
}
