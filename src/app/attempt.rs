//! How an act ended that was understood, and begun.

/// An act that was begun. What keeps it from being begun is an error instead.
#[derive(Debug)]
pub enum Attempt<T> {
    /// It is done.
    Done(T),
    /// It could not be done, for each of these reasons.
    Failed(Vec<String>),
}

impl<T> Attempt<T> {
    /// An act that one thing stood in the way of.
    pub fn failed(why: impl ToString) -> Self {
        Attempt::Failed(vec![why.to_string()])
    }
}
