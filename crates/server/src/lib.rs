//! The road of a request, from HTTP to commit and back.
