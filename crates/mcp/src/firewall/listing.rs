//! All that a server offers, page by page.

use serde_json::{Map, Value};

use super::{Firewall, Purpose, RESOURCES_CHANGED, Seen, Step};
use crate::{
    catalogue::{Offer, items_of},
    item::{Item, ItemKind, short},
    message::Outcome,
};

/// Pages of one list.
const PAGES_MAX: usize = 64;
/// All lists together, in bytes of JSON.
const BYTES_MAX: usize = 8 << 20;
/// Things in all lists together.
const ITEMS_MAX: usize = 4096;

/// The lists: what they are of, how they are asked for, where they stand in the answer,
/// and by which capability a server says that it has them.
const LISTS: [(ItemKind, &str, &str, &str); 3] = [
    (ItemKind::Tool, "tools/list", "tools", "tools"),
    (ItemKind::Prompt, "prompts/list", "prompts", "prompts"),
    (
        ItemKind::ResourceTemplate,
        "resources/templates/list",
        "resourceTemplates",
        "resources",
    ),
];

/// Lists that are being fetched.
#[derive(Debug)]
pub(super) struct Listing {
    /// Which of them.
    at: usize,
    pages: usize,
    found: Vec<Item>,
    /// How large all of it is, in bytes of JSON.
    bytes: usize,
}

impl Firewall {
    /// Begins to fetch all lists.
    pub(super) fn list(&mut self, step: &mut Step) {
        self.stale = false;
        self.listing = Some(Listing {
            at: 0,
            pages: 0,
            found: Vec::new(),
            bytes: 0,
        });
        self.next_page(None, step);
    }

    /// Asks for the page at `cursor` of the list in turn, or ends if there is none left.
    fn next_page(&mut self, cursor: Option<Value>, step: &mut Step) {
        let Some(mut listing) = self.listing.take() else {
            return;
        };
        while let Some((_, method, _, capability)) = LISTS.get(listing.at) {
            if self.can(capability).is_null() {
                listing.at += 1;
                continue;
            }
            let mut params = Map::new();
            params.extend(cursor.map(|cursor| ("cursor".to_owned(), cursor)));
            let era = self.era().unwrap_or(crate::Era::Legacy);
            let params = self.in_era(params, era);
            self.listing = Some(listing);
            self.ask_server(method, params, Purpose::Page, step);
            return;
        }
        self.listed(listing.found, step);
    }

    /// Takes a page.
    pub(super) fn page(&mut self, outcome: Outcome, step: &mut Step) {
        let Some(listing) = &mut self.listing else {
            return step.drop_of(true, "an answer out of turn");
        };
        let (kind, method, key, _) = LISTS[listing.at];
        let mut result = match outcome {
            Outcome::Result(result) => result,
            Outcome::Error(error) => {
                // What it cannot list it does not offer.
                step.drop_of(true, format!("{method}: {}", short(&error.message)));
                Map::new()
            }
        };
        let entries = match result.get_mut(key).map(Value::take) {
            Some(Value::Array(entries)) => entries,
            _ => Vec::new(),
        };
        match items_of(kind, entries) {
            Ok(items) => {
                let sizes = items.iter().map(|item| item.body.to_string().len());
                listing.bytes += sizes.sum::<usize>();
                if listing.bytes <= BYTES_MAX {
                    listing.found.extend(items);
                }
            }
            Err(why) => step.drop_of(true, format!("{method}: {why}")),
        }
        listing.pages += 1;
        let cursor = result
            .get("nextCursor")
            .filter(|cursor| cursor.is_string())
            .cloned();
        let is_endless = listing.pages >= PAGES_MAX
            || listing.found.len() > ITEMS_MAX
            || listing.bytes > BYTES_MAX;
        if is_endless && cursor.is_some() {
            step.drop_of(true, format!("{method}: the list does not end"));
        }
        let cursor = cursor.filter(|_| !is_endless);
        if cursor.is_none() {
            listing.at += 1;
            listing.pages = 0;
        }
        self.next_page(cursor, step);
    }

    fn listed(&mut self, mut found: Vec<Item>, step: &mut Step) {
        found.truncate(ITEMS_MAX);
        let is_own = |item: &Item| {
            matches!(
                item.kind,
                ItemKind::Server | ItemKind::Capabilities | ItemKind::Instructions
            )
        };
        self.server.items.retain(is_own);
        self.server.items.extend(found);
        let mut offer = Offer::of(&self.server, &mut self.pins);
        offer.forbid(&self.forbidden);
        let before = self
            .offer
            .as_ref()
            .map(|offer| offer.withheld.clone())
            .unwrap_or_default();
        for held in offer.withheld.iter().filter(|held| !before.contains(held)) {
            step.seen.push(Seen::Withheld {
                kind: held.kind,
                name: short(&held.name),
                rule: held.reason.rule().into(),
                reason: held.reason.text(),
            });
        }
        self.offer = Some(offer);
        self.served.clear();
        for request in &mut self.waiting {
            request.has_waited = true;
        }
    }

    /// The server says that a list has changed: nobody goes by the old one again. The
    /// client hears of it once, until it asks.
    pub(super) fn list_changed(&mut self, change: &'static str, step: &mut Step) {
        self.stale |= change != RESOURCES_CHANGED;
        if self.told.insert(change) {
            self.tell_of_change(change, step);
        }
    }
}
