//! Patches: what a JSON patch, a merge patch or a strategic merge patch makes of an object. Pure: it must know neither
//! store nor HTTP.
