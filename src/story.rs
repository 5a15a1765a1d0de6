//! How rooms that do long work tell what happens, without knowing who listens.

/// Is told what happens, for people.
pub trait Story: Send + Sync {
    /// A step begins; the one before it is done.
    fn step(&self, name: &str);
    /// How far the step is.
    fn detail(&self, text: &str);
    /// Something may be wrong.
    fn warn(&self, text: &str);
}
