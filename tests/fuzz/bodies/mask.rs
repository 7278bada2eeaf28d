//! Secrets in what hosts say: before the first line end a secret, behind it the words. No form of the secret comes
//! through, cut or whole, and no text grows.

use auto_dispatcher::domain::mask::Mask;
use auto_dispatcher::domain::secret::Secret;
use auto_dispatcher::domain::text::escape;

/// Runs the target on one input.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (secret, words) = text.split_once('\n').unwrap_or((&text, ""));
    // The time that hiding takes grows with the square of a secret's length; what is hidden in is bounded.
    if secret.len() > 200 {
        return;
    }
    let mut mask = Mask::default();
    mask.add(&Secret::new(secret.to_owned()));
    for is_cut in [false, true] {
        let output = mask.output(data.to_vec(), is_cut);
        assert!(output.len() <= data.len());
    }
    // Stars in a secret are not told from those that hide it; one that is short is not hidden.
    if secret.len() < 4 || secret.contains('*') {
        return;
    }
    let half = (4..secret.len())
        .rev()
        .find(|&at| secret.is_char_boundary(at));
    let half = half.map_or("", |at| &secret[..at]);
    let said = format!(
        "{words}{secret}{words}\n{}|{words} {half}...",
        escape(secret)
    );
    let shown = mask.text(&said);
    assert!(!shown.contains(secret), "{said:?} shows as {shown:?}");
    assert!(!shown.contains(&*escape(secret)));
    assert!(half.is_empty() || !shown.ends_with(&format!("{half}...")));
    let output = mask.output(said.into_bytes(), false);
    let output = String::from_utf8_lossy(&output);
    assert!(!output.contains(secret));
}
