//! Files that found no room, and those behind them: nothing overtakes another file on its way to the same target.
//! Knows only when files were written, what they are called, and their lanes.

use std::collections::{BTreeMap, HashMap};

/// When a file was written, in nanoseconds, and its path: the order in which files are taken.
pub(super) type Place = (i64, String);

/// The files that wait, in their order.
#[derive(Debug, Default)]
pub(super) struct Held {
    files: BTreeMap<Place, Vec<String>>,
    /// When each of them was written.
    times: HashMap<String, i64>,
    /// The first one of each lane.
    first: HashMap<String, Place>,
}

impl Held {
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(|(_, path)| path.as_str())
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The lanes of a file that waits.
    pub(super) fn lanes(&self, place: &Place) -> Option<&[String]> {
        self.files.get(place).map(Vec::as_slice)
    }

    /// Whether an earlier file waits that goes to one of these lanes.
    pub(super) fn is_behind(&self, place: &Place, lanes: &[String]) -> bool {
        lanes
            .iter()
            .any(|lane| self.first.get(lane).is_some_and(|first| first < place))
    }

    /// The file may have been written to since it waits: then it has another place, and does not wait for itself.
    pub(super) fn renew(&mut self, (time, path): &Place) {
        if let Some(&known) = self.times.get(path)
            && known != *time
        {
            self.release(&(known, path.clone()));
        }
    }

    /// The file waits.
    pub(super) fn hold(&mut self, place: Place, lanes: Vec<String>) {
        self.renew(&place);
        self.times.insert(place.1.clone(), place.0);
        for lane in &lanes {
            match self.first.get(lane) {
                Some(first) if *first <= place => {}
                _ => drop(self.first.insert(lane.clone(), place.clone())),
            }
        }
        self.files.insert(place, lanes);
    }

    /// The file waits no more.
    pub(super) fn release(&mut self, place: &Place) {
        if self.files.contains_key(place) {
            self.times.remove(&place.1);
        }
        for lane in self.files.remove(place).unwrap_or_default() {
            if self.first.get(&lane) != Some(place) {
                continue;
            }
            let next = self.files.iter().find(|(_, lanes)| lanes.contains(&lane));
            match next.map(|(next, _)| next.clone()) {
                Some(next) => drop(self.first.insert(lane, next)),
                None => drop(self.first.remove(&lane)),
            }
        }
    }

    /// Only files that this says yes to wait still.
    pub(super) fn retain(&mut self, stays: impl Fn(&str) -> bool) {
        let gone: Vec<Place> = self
            .files
            .keys()
            .filter(|(_, path)| !stays(path))
            .cloned()
            .collect();
        for place in gone {
            self.release(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_overtakes_in_a_lane_and_everything_goes_on_when_the_first_has_gone() {
        let place = |time: i64| (time, format!("file-{time}"));
        let lanes = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        let mut held = Held::default();
        held.hold(place(2), lanes(&["a", "b"]));
        held.hold(place(4), lanes(&["b"]));
        assert!(held.is_behind(&place(3), &lanes(&["b", "c"])));
        assert!(!held.is_behind(&place(3), &lanes(&["c"])));
        assert!(!held.is_behind(&place(1), &lanes(&["a"])));
        assert!(!held.is_behind(&place(2), &lanes(&["a", "b"])), "itself");
        held.release(&place(2));
        assert!(!held.is_behind(&place(3), &lanes(&["a", "b"])));
        assert!(held.is_behind(&place(5), &lanes(&["b"])));
        // Written to meanwhile: it goes to the end.
        let later = (6, "file-4".to_owned());
        held.renew(&later);
        assert!(!held.is_behind(&later, &lanes(&["b"])), "itself");
        held.hold(later.clone(), lanes(&["b"]));
        held.retain(|_| false);
        assert!(held.is_empty() && !held.is_behind(&place(5), &lanes(&["b"])));
    }
}
