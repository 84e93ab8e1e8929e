//! Our own Rust files as the guards of the house read them: found, cut into tokens, without comments,
//! literals and tests. It knows braces and words, not types; that is enough to hold a rule and cheap
//! enough to run before each commit.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const ROOMS: [&str; 4] = ["crds", "operator", "worker", "e2e"];

/// A Rust file of the workspace.
#[derive(Debug)]
pub struct SourceFile {
    /// From the workspace's root, with `/`.
    pub path: String,
    /// As it is.
    pub text: String,
}

/// A word or a sign of the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The word, or one character.
    pub text: String,
    /// Its line, from 1.
    pub line: usize,
}

/// The root of the workspace.
#[must_use]
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).to_owned()
}

/// Every Rust file of ours, sorted by path.
///
/// # Errors
/// When a folder or a file can't be read.
pub fn rust_files() -> io::Result<Vec<SourceFile>> {
    let root = workspace_root();
    let mut files = Vec::new();
    for room in ROOMS {
        collect(&root, &root.join(room), &mut files)?;
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<SourceFile>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(root, &path, files)?;
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            files.push(SourceFile { path: relative.display().to_string(), text: fs::read_to_string(&path)? });
        }
    }
    Ok(())
}

impl SourceFile {
    /// True for files that only tests and benchmarks compile.
    #[must_use]
    pub fn is_test(&self) -> bool {
        let part = |name: &str| self.path.split('/').any(|part| part == name);
        ["tests", "benches", "bench", "examples"].into_iter().any(part) || self.path.ends_with("/tests.rs")
    }

    /// The code's tokens, inline test modules left out.
    #[must_use]
    pub fn tokens(&self) -> Vec<Token> {
        without_tests(&tokens(&self.text))
    }

    /// The lines of code with their comments, inline test modules left out.
    #[must_use]
    pub fn lines(&self) -> usize {
        let all = tokens(&self.text);
        let kept = without_tests(&all).len();
        let dropped = all.len() - kept;
        match test_modules(&all).first() {
            Some(tests) if dropped > 0 => all[tests.start].line - 1,
            _ => self.text.lines().count(),
        }
    }

    /// Each function's name with its first and last line.
    #[must_use]
    pub fn functions(&self) -> Vec<(String, usize, usize)> {
        let tokens = self.tokens();
        let starts =
            tokens.windows(2).enumerate().filter(|(_, pair)| pair[0].text == "fn" && is_word(&pair[1]));
        starts
            .filter_map(|(at, pair)| {
                let open =
                    at + tokens[at..].iter().position(|token| token.text == "{" || token.text == ";")?;
                let close = closing(&tokens, open)?;
                Some((pair[1].text.clone(), pair[0].line, tokens[close].line))
            })
            .collect()
    }
}

/// True for a name or a keyword.
#[must_use]
pub fn is_word(token: &Token) -> bool {
    token.text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// True when `tokens` begin with `words` (each a word or one sign).
#[must_use]
pub fn begins(tokens: &[Token], words: &[&str]) -> bool {
    tokens.len() >= words.len() && words.iter().zip(tokens).all(|(word, token)| token.text == *word)
}

/// The place of the brace that closes the one at `open`.
#[must_use]
pub fn closing(tokens: &[Token], open: usize) -> Option<usize> {
    if tokens.get(open)?.text != "{" {
        return None;
    }
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

fn without_tests(all: &[Token]) -> Vec<Token> {
    let tests = test_modules(all);
    let outside = |at: &usize| !tests.iter().any(|module| module.contains(at));
    (0..all.len()).filter(outside).map(|at| all[at].clone()).collect()
}

/// `#[cfg(test)] mod name { … }` and functions under `#[cfg(test)]`.
fn test_modules(all: &[Token]) -> Vec<std::ops::Range<usize>> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut found: Vec<std::ops::Range<usize>> = Vec::new();
    for at in 0..all.len() {
        let inside = found.last().is_some_and(|last| last.contains(&at));
        if inside || !begins(&all[at..], &MARK) {
            continue;
        }
        let body = all[at..].iter().position(|token| token.text == "{" || token.text == ";");
        let end = body.map(|body| closing(all, at + body).unwrap_or(at + body));
        found.push(at..end.unwrap_or(all.len() - 1) + 1);
    }
    found
}

/// Cuts code into words and signs; comments vanish, a literal becomes one `"`.
#[must_use]
pub fn tokens(text: &str) -> Vec<Token> {
    let mut cutter = Cutter { rest: text, line: 1, tokens: Vec::new() };
    while let Some(first) = cutter.rest.chars().next() {
        cutter.next(first);
    }
    cutter.tokens
}

struct Cutter<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl Cutter<'_> {
    fn next(&mut self, first: char) {
        if self.rest.starts_with("//") {
            self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.skip(comment_length(self.rest));
        } else if let Some(length) = literal_length(self.rest) {
            self.push("\"", length);
        } else if first.is_alphanumeric() || first == '_' {
            let word = |next: char| !(next.is_alphanumeric() || next == '_');
            let length = self.rest.find(word).unwrap_or(self.rest.len());
            let text = self.rest[..length].to_owned();
            self.push(&text, length);
        } else if first.is_whitespace() {
            self.skip(first.len_utf8());
        } else {
            self.push(&first.to_string(), first.len_utf8());
        }
    }

    fn push(&mut self, text: &str, length: usize) {
        self.tokens.push(Token { text: text.to_owned(), line: self.line });
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        let (skipped, rest) = self.rest.split_at(length);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }
}

fn comment_length(rest: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// The length of the string or character literal that `rest` begins with; a lifetime is none.
fn literal_length(rest: &str) -> Option<usize> {
    let body = rest.trim_start_matches(['b', 'c']);
    let prefix = rest.len() - body.len();
    if prefix > 1 {
        return None;
    }
    if let Some(raw) = body.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let opened = raw[hashes..].starts_with('"');
        let end = format!("\"{}", "#".repeat(hashes));
        let start = prefix + 1 + hashes + 1;
        return opened.then(|| rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len()));
    }
    let quote = body.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    if quote == '\'' && !is_character(&body[1..]) {
        return None;
    }
    let mut escaped = false;
    for (at, next) in body.char_indices().skip(1) {
        match next {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if next == quote => return Some(prefix + at + 1),
            _ => {}
        }
    }
    Some(rest.len())
}

fn is_character(after_quote: &str) -> bool {
    let mut next = after_quote.chars();
    match next.next() {
        Some('\\') => true,
        Some(_) => next.next() == Some('\''),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        tokens(text).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = r##"let a = "x // y"; /* b /* c */ d */ let e: &'static str = r#"f"g"#; // h
            let i = ['\'', 'j', b'k']; let l = "\"m";"##;
        assert_eq!(
            words(text).join(" "),
            "let a = \" ; let e : & ' static str = \" ; let i = [ \" , \" , \" ] ; let l = \" ;"
        );
    }

    #[test]
    fn inline_tests_are_left_out_and_functions_measured() {
        let text =
            "//! A file.\nfn one() {\n    two();\n}\n\n#[cfg(test)]\nmod tests {\n    fn three() {}\n}\n";
        let file = SourceFile { path: "worker/src/a.rs".into(), text: text.into() };
        assert_eq!(file.functions(), [("one".to_owned(), 2, 4)]);
        assert_eq!(file.lines(), 5);
        assert!(!file.is_test());
    }
}
