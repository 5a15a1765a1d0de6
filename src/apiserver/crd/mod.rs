//! Custom resource definitions: what they serve, how they are completed, what is wrong with them.
//! Pure: it must not store anything or look at the clock.

mod served;

pub(crate) use served::served_resources;
