//! Errors as sentences: the only place where an error is printed with its causes.

use std::error::Error;

/// An error and its causes, from the outermost to the innermost, as one sentence. A cause already contained in
/// an error's own text is not repeated.
pub fn with_causes(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    for cause in std::iter::successors(error.source(), |&cause| cause.source()) {
        let text = cause.to_string();
        if !sentence.contains(&text) {
            sentence = format!("{sentence}: {text}");
        }
    }
    sentence
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(self.1.as_deref()?)
        }
    }

    #[test]
    fn each_cause_is_named_once() {
        let innermost = Layer("no such device", None);
        let middle = Layer("cannot add 10.0.0.1: no such device", Some(Box::new(innermost)));
        let error = Layer("the round failed", Some(Box::new(middle)));
        assert_eq!(with_causes(&error), "the round failed: cannot add 10.0.0.1: no such device");
        assert_eq!(with_causes(&Layer("alone", None)), "alone");
    }
}
