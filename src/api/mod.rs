//! What an object is: kinds, conditions, names. No I/O, no async.
