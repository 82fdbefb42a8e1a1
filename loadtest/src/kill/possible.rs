//! What may be true of a link, as far as its only editor can know: pure.
//!
//! An edit that was answered has happened. One that was cut has happened whole, or not at all; so
//! the link is in one of several states until somebody looks. Versions only grow: who has seen one
//! will never see a lower one. A cut edit may still happen after somebody looked (the database of a
//! killed server may be another process that has yet to carry it out), so a look rules out what is
//! older, and not what may still come.

/// A link at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) version: u64,
    /// Which change gave it both its target and its title; 0: none, it is as it was made.
    pub(crate) change: u64,
    pub(crate) is_deleted: bool,
}

/// What an editor does to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// Gives it the target and the title of this number.
    Change(u64),
    Delete,
    /// Takes a deletion back; of a link that is there it changes nothing.
    Restore,
}

/// The answer to an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Done, and the link has this version.
    Version(u64),
    /// Done.
    Done,
    /// There is no such link.
    NotThere,
}

impl State {
    /// The state after `edit`; `None` if there is nothing that it could be done to.
    fn after(&self, edit: Edit) -> Option<Self> {
        let version = self.version + 1;
        match (edit, self.is_deleted) {
            (Edit::Change(change), false) => Some(Self { version, change, is_deleted: false }),
            (Edit::Delete, false) => Some(Self { version, is_deleted: true, ..*self }),
            (Edit::Restore, true) => Some(Self { version, is_deleted: false, ..*self }),
            (Edit::Restore, false) => Some(self.clone()),
            (Edit::Change(_) | Edit::Delete, true) => None,
        }
    }
}

/// The states in which a link may be: never none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Possible(Vec<State>);

impl Possible {
    /// A link that was just made.
    pub(crate) fn made() -> Self {
        Self(vec![State { version: 1, change: 0, is_deleted: false }])
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The oldest of them: what was certainly reached.
    pub(crate) fn oldest(&self) -> &State {
        self.0.iter().min_by_key(|state| state.version).expect("never none")
    }

    /// `edit` was sent and not answered.
    pub(crate) fn cut(&mut self, edit: Edit) {
        for after in self.0.clone().iter().filter_map(|state| state.after(edit)) {
            if !self.0.contains(&after) {
                self.0.push(after);
            }
        }
    }

    /// `edit` was answered: whether that can be. If not, nothing changes.
    pub(crate) fn told(&mut self, edit: Edit, told: Told) -> bool {
        let states = self.0.iter().filter_map(|state| {
            let after = state.after(edit);
            match told {
                Told::Version(version) => after.filter(|after| after.version == version),
                Told::Done => after,
                Told::NotThere => after.is_none().then(|| state.clone()),
            }
        });
        let states: Vec<_> = states.collect();
        self.replace(states)
    }

    /// Somebody looked, and what was seen is so in some states: whether it can be. If not, nothing
    /// changes.
    pub(crate) fn seen(&mut self, is_so: impl Fn(&State) -> bool) -> bool {
        let seen = self.0.iter().filter(|state| is_so(state)).map(|state| state.version).min();
        let Some(seen) = seen else { return false };
        let states = self.0.iter().filter(|state| is_so(state) || state.version > seen);
        let states = states.cloned().collect();
        self.replace(states)
    }

    fn replace(&mut self, states: Vec<State>) -> bool {
        if states.is_empty() {
            return false;
        }
        self.0 = states;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(version: u64, change: u64) -> State {
        State { version, change, is_deleted: false }
    }

    fn deleted(version: u64, change: u64) -> State {
        State { version, change, is_deleted: true }
    }

    fn after(steps: &[(Edit, Told)]) -> Possible {
        let mut possible = Possible::made();
        for (edit, told) in steps {
            assert!(possible.told(*edit, *told), "{edit:?} {told:?}");
        }
        possible
    }

    #[test]
    fn answered_edits_leave_one_state() {
        let possible = after(&[
            (Edit::Change(7), Told::Version(2)),
            (Edit::Delete, Told::Done),
            (Edit::Change(8), Told::NotThere),
            (Edit::Restore, Told::Version(4)),
            (Edit::Restore, Told::Version(4)),
        ]);
        assert_eq!(possible.0, [live(4, 7)]);
    }

    #[test]
    fn answers_that_cannot_be_are_found() {
        for (edit, told) in [
            // A change that skipped a version, or made none.
            (Edit::Change(2), Told::Version(4)),
            (Edit::Change(2), Told::Version(2)),
            (Edit::Change(2), Told::NotThere),
            (Edit::Delete, Told::NotThere),
            (Edit::Restore, Told::Version(3)),
            (Edit::Restore, Told::NotThere),
        ] {
            let mut possible = after(&[(Edit::Change(1), Told::Version(2))]);
            assert!(!possible.told(edit, told), "{edit:?} {told:?}");
            assert_eq!(possible.0, [live(2, 1)]);
        }
    }

    #[test]
    fn a_cut_edit_may_have_happened_or_not_or_may_yet_happen() {
        let mut possible = Possible::made();
        possible.cut(Edit::Change(1));
        assert_eq!(possible.0, [live(1, 0), live(2, 1)]);
        // Not yet: but nothing says that it never will.
        assert!(possible.seen(|state| state.version == 1));
        assert_eq!(possible.count(), 2);
        let mut late = possible.clone();
        // The next answer tells: by its version.
        assert!(possible.told(Edit::Change(2), Told::Version(2)));
        assert_eq!(possible.0, [live(2, 2)]);
        assert!(late.told(Edit::Change(2), Told::Version(3)));
        assert_eq!(late.0, [live(3, 2)]);
    }

    #[test]
    fn nobody_sees_a_link_go_back() {
        let mut possible = Possible::made();
        possible.cut(Edit::Delete);
        assert_eq!(possible.0, [live(1, 0), deleted(2, 0)]);
        assert!(possible.seen(|state| state.is_deleted));
        assert!(!possible.seen(|state| !state.is_deleted), "it was gone");
        assert_eq!(*possible.oldest(), deleted(2, 0));
    }

    #[test]
    fn a_state_that_is_none_of_the_possible_ones_is_found() {
        let mut possible = after(&[(Edit::Change(1), Told::Version(2))]);
        possible.cut(Edit::Change(5));
        // The version of one and the target of the other.
        assert!(!possible.seen(|state| state.version == 2 && state.change == 5));
        assert!(!possible.seen(|state| state.is_deleted));
        assert_eq!(possible.count(), 2);
    }

    #[test]
    fn cut_edits_in_a_row_may_have_happened_in_any_part() {
        let mut possible = Possible::made();
        possible.cut(Edit::Change(1));
        possible.cut(Edit::Delete);
        assert_eq!(possible.0, [live(1, 0), live(2, 1), deleted(2, 0), deleted(3, 1)]);
        possible.cut(Edit::Delete);
        assert_eq!(possible.count(), 4, "the same once more adds nothing");
    }
}
