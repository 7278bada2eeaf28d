//! Which files the terms of a drop directory reach at all, kept over restarts: what new terms reach and the former ones
//! did not may have been there before the first start, and is not dispatched then when somebody writes `include = *`.

use serde::{Deserialize, Serialize};

use super::{DropFilter, DropTerms, parent_of};

/// The part of the terms that decides which files are looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "settings that are yes or no")]
pub struct Reach {
    include: Option<Vec<String>>,
    exclude: Vec<String>,
    hidden: bool,
    marker: bool,
    sub_directories: bool,
    follow_symlinks: bool,
    cross_file_systems: bool,
}

impl Reach {
    /// That of these terms.
    pub fn of(terms: &DropTerms) -> Self {
        let (include, exclude) = terms.filter.words();
        Self {
            include: include.map(<[String]>::to_vec),
            exclude: exclude.to_vec(),
            hidden: terms.filter.hidden,
            marker: terms.filter.marker.is_some(),
            sub_directories: terms.sub_directories,
            follow_symlinks: terms.follow_symlinks,
            cross_file_systems: terms.cross_file_systems,
        }
    }

    /// What `path` is compared by. Globs that were read once are globs.
    fn filter(&self) -> DropFilter {
        let mut filter = DropFilter::default();
        filter.hidden = self.hidden;
        if let Some(include) = &self.include {
            let _ = filter.include(include);
        }
        let _ = filter.exclude(&self.exclude);
        filter
    }
}

/// The former reach, ready to be asked.
#[derive(Debug)]
pub struct FormerReach {
    reach: Reach,
    filter: DropFilter,
}

impl FormerReach {
    /// What `former` did not reach; none where `now` is the same.
    pub fn new(former: Reach, now: &Reach) -> Option<Self> {
        let filter = former.filter();
        (former != *now).then_some(Self {
            reach: former,
            filter,
        })
    }

    /// Whether the file at `path` was reached, on a file system of its own or not. What only marked files were, and
    /// what lies behind links or mounts, cannot be told: it counts as not reached.
    pub fn reached(&self, path: &str, now: &Reach, is_on_another_file_system: bool) -> bool {
        let mut directory = parent_of(path);
        if !directory.is_empty() && !self.reach.sub_directories {
            return false;
        }
        while !directory.is_empty() {
            if !self.filter.enters(directory) {
                return false;
            }
            directory = parent_of(directory);
        }
        self.filter.takes(path)
            && (!self.reach.marker || now.marker)
            && (self.reach.follow_symlinks || !now.follow_symlinks)
            && (self.reach.cross_file_systems || !is_on_another_file_system)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_reached_before_is_told() {
        let mut terms = DropTerms::new("/in".into());
        let all = Reach::of(&terms);
        terms.filter.include(&["*.tar".to_owned()]).expect("a glob");
        terms.sub_directories = false;
        let former = Reach::of(&terms);
        let text = serde_json::to_string(&former).expect("JSON");
        let former: Reach = serde_json::from_str(&text).expect("the same");
        assert!(FormerReach::new(former.clone(), &former).is_none());
        let former = FormerReach::new(former, &all).expect("another one");
        assert!(former.reached("a.tar", &all, false));
        assert!(!former.reached("a.zip", &all, false));
        assert!(!former.reached("sub/a.tar", &all, false));
        assert!(!former.reached("a.tar", &all, true));
    }
}
