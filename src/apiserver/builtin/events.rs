//! The two faces of events: `v1` as stored and `events.k8s.io/v1`. It must not validate.

use serde_json::Value;

use super::ResourceInfo;

/// Field names of `v1` and of `events.k8s.io/v1`.
const NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

impl ResourceInfo {
    /// Turns an object of this version into the stored one.
    pub fn to_storage(&self, object: &mut Value) {
        if self.group == "events.k8s.io" {
            rename(object, |(stored, shown)| (shown, stored));
            object["apiVersion"] = "v1".into();
        } else if self.version != self.storage_version {
            object["apiVersion"] = super::group_version(&self.group, &self.storage_version).into();
        }
    }

    /// Turns a stored object into one of this version.
    pub fn from_storage(&self, object: &mut Value) {
        if self.group == "events.k8s.io" {
            rename(object, |(stored, shown)| (stored, shown));
            object["apiVersion"] = "events.k8s.io/v1".into();
        } else if self.custom && object["apiVersion"] != self.api_version().as_str() {
            object["apiVersion"] = self.api_version().into();
        }
    }

    /// Returns whether objects of this version differ from the stored ones.
    pub fn converts(&self) -> bool {
        self.group == "events.k8s.io" || self.custom
    }
}

fn rename(object: &mut Value, way: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str)) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    for &pair in NAMES {
        let (from, to) = way(pair);
        if let Some(value) = object.remove(from) {
            object.insert(to.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use serde_json::json;

    #[test]
    fn an_event_keeps_its_content_in_both_groups() {
        let info = Registry::builtin()
            .find("events.k8s.io", "v1", "events")
            .expect("served");
        let stored =
            json!({"apiVersion": "v1", "kind": "Event", "message": "m", "involvedObject": {"name": "n"}});
        let mut object = stored.clone();
        info.from_storage(&mut object);
        assert_eq!(object["regarding"]["name"], "n");
        assert_eq!(object["note"], "m");
        info.to_storage(&mut object);
        assert_eq!(object, stored);
    }
}
