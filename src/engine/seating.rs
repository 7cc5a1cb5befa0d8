//! Whose approval fills which slot: every slot needs people of its own, and nobody fills two.
//!
//! Fair whatever the order: whoever fits several slots moves to another when somebody comes who fits only theirs. So an
//! approval counts exactly if there is any way to seat everybody who approved.

use super::protocol::ApproverSlot;
use serde::{Deserialize, Serialize};

/// One person in one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filled {
    pub slot: String,
    pub by: String,
}

/// People in slots: augmenting paths, so that whoever can be seated is.
pub struct Seating<'a> {
    slots: &'a [ApproverSlot],
    people: Vec<Person>,
    /// By slot: the numbers of those who fill it.
    taken: Vec<Vec<usize>>,
}

struct Person {
    name: String,
    fits: Vec<usize>,
}

impl<'a> Seating<'a> {
    pub fn new(slots: &'a [ApproverSlot]) -> Seating<'a> {
        Seating { slots, people: Vec::new(), taken: vec![Vec::new(); slots.len()] }
    }

    /// Seats somebody who fits these slots. False: there is no room, however the others move.
    pub fn seat(&mut self, name: &str, fits: &[String]) -> bool {
        let fits = (0..self.slots.len()).filter(|slot| fits.contains(&self.slots[*slot].name)).collect();
        self.people.push(Person { name: name.to_owned(), fits });
        let seated = self.place(self.people.len() - 1, &mut vec![false; self.slots.len()]);
        if !seated {
            self.people.pop();
        }
        seated
    }

    /// At most as deep as there are slots, for none is looked at twice.
    fn place(&mut self, person: usize, seen: &mut [bool]) -> bool {
        let fits: Vec<usize> = self.people[person].fits.iter().copied().filter(|slot| !seen[*slot]).collect();
        // Whoever came before keeps their slot where there is another way.
        let has_room = |slot: &&usize| self.taken[**slot].len() < self.slots[**slot].count as usize;
        if let Some(slot) = fits.iter().find(has_room) {
            self.taken[*slot].push(person);
            return true;
        }
        for slot in fits {
            if std::mem::replace(&mut seen[slot], true) {
                continue;
            }
            for place in 0..self.taken[slot].len() {
                let other = self.taken[slot][place];
                if self.place(other, seen) {
                    self.taken[slot][place] = person;
                    return true;
                }
            }
        }
        false
    }

    /// Whether somebody who fits this slot alone could be seated.
    pub fn is_open(&mut self, slot: &str) -> bool {
        let before = (self.people.len(), self.taken.clone());
        let open = self.seat("", &[slot.to_owned()]);
        self.people.truncate(before.0);
        self.taken = before.1;
        open
    }

    pub fn is_full(&self) -> bool {
        self.slots.iter().zip(&self.taken).all(|(slot, taken)| taken.len() >= slot.count as usize)
    }

    /// Who fills what, by slot.
    pub fn filled(&self) -> Vec<Filled> {
        let by_slot = self.slots.iter().zip(&self.taken);
        let filled = by_slot.flat_map(|(slot, taken)| {
            let by =
                |person: &usize| Filled { slot: slot.name.clone(), by: self.people[*person].name.clone() };
            taken.iter().map(by)
        });
        filled.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::protocol::Approvers;

    fn slots(named: &[(&str, u32)]) -> Vec<ApproverSlot> {
        let slot = |(name, count): &(&str, u32)| ApproverSlot {
            name: (*name).to_owned(),
            count: *count,
            who: Approvers::default(),
        };
        named.iter().map(slot).collect()
    }

    fn fits(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn filled(seating: &Seating<'_>) -> Vec<(String, String)> {
        seating.filled().into_iter().map(|filled| (filled.slot, filled.by)).collect()
    }

    #[test]
    fn whoever_fits_both_moves_for_whoever_fits_one() {
        let slots = slots(&[("legal", 1), ("security", 1)]);
        let mut seating = Seating::new(&slots);
        assert!(seating.seat("ada", &fits(&["legal", "security"])));
        assert_eq!(filled(&seating), [("legal".to_owned(), "ada".to_owned())]);
        assert!(seating.is_open("legal") && seating.is_open("security"));
        assert!(seating.seat("bob", &fits(&["legal"])));
        assert_eq!(filled(&seating), [("legal".into(), "bob".into()), ("security".into(), "ada".into())]);
        assert!(seating.is_full());
        assert!(!seating.seat("eve", &fits(&["legal", "security"])));
        assert_eq!(filled(&seating).len(), 2, "who finds no room changes nothing");
    }

    #[test]
    fn a_full_slot_whose_people_fit_no_other_is_closed() {
        let slots = slots(&[("legal", 1), ("security", 2)]);
        let mut seating = Seating::new(&slots);
        assert!(seating.seat("bob", &fits(&["legal"])) && seating.seat("ada", &fits(&["security"])));
        assert!(!seating.is_open("legal") && seating.is_open("security"));
        assert!(!seating.seat("carl", &fits(&["legal"])) && !seating.seat("dora", &[]));
        assert!(!seating.is_full() && seating.seat("eve", &fits(&["legal", "security"])));
        assert!(seating.is_full());
    }

    /// Every way of seating four people, each of whom fits some of three slots, against a search that tries all.
    #[test]
    fn everybody_is_seated_exactly_if_there_is_a_way() {
        let slots = slots(&[("a", 1), ("b", 2), ("c", 1)]);
        let names = ["a", "b", "c"];
        let of = |mask: usize| {
            fits(
                &names
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| mask >> at & 1 == 1)
                    .map(|(_, name)| *name)
                    .collect::<Vec<_>>(),
            )
        };
        for all in 0..8_usize.pow(4) {
            let masks: Vec<usize> = (0..4).map(|person| all / 8_usize.pow(person) % 8).collect();
            let mut seating = Seating::new(&slots);
            let seated: Vec<bool> = masks
                .iter()
                .enumerate()
                .map(|(person, mask)| seating.seat(&person.to_string(), &of(*mask)))
                .collect();
            let possible = (0..3_usize.pow(4)).any(|choice| {
                let chosen: Vec<usize> = (0..4).map(|person| choice / 3_usize.pow(person) % 3).collect();
                let fit = chosen.iter().zip(&masks).all(|(slot, mask)| mask >> slot & 1 == 1);
                let room = (0..3).all(|slot| {
                    chosen.iter().filter(|chosen| **chosen == slot).count() <= slots[slot].count as usize
                });
                fit && room
            });
            assert_eq!(seated.iter().all(|seated| *seated), possible, "{masks:?}");
            assert_eq!(seating.filled().len(), seated.iter().filter(|seated| **seated).count());
        }
    }
}
