//! Faults in what a request gives, as values.

/// A field at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldFault {
    /// The JSON key, path variable or query parameter.
    pub field: &'static str,
    /// A message of its own; without one, the general message for invalid values stands for it.
    pub message: Option<&'static str>,
}

/// A request whose fields cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Malformed {
    /// The body is no JSON object.
    Body,
    /// These fields are at fault, in the order in which they were read.
    Fields(Vec<FieldFault>),
}
