//! Usage entries as JSON: byte for byte what serde writes, in a fifth of its time. They are what
//! the ledger gets by the thousand, and writing them out was a seventh of a commit's cost.
//!
//! It declines whatever is not plain: entries of other kinds, and texts that need escapes. Those
//! are serde's. Each struct is taken apart whole, so that a new field does not compile until it
//! is written here too; a test holds every byte to serde's.

use super::{Entry, EntryKind, GrantMove, Receipt, Settlement};
use crate::domain::{
    account::{AccountHead, PlanTerm},
    cycle::Cycle,
    grant::Draw,
    rate_card::{DecimalText, LineItem, Price},
    usage::{Action, Amount, Usage},
};

/// What an entry usually takes at most.
const USUAL_BYTES: usize = 2048;
/// The most digits of a number of 64 bits, and its sign.
const DIGITS_MAX: usize = 20;

/// The entry as JSON; `None` where it is not plain.
pub fn usage_entry(entry: &Entry) -> Option<String> {
    let Entry {
        account_id,
        sequence,
        kind,
        credits,
        available_after,
        debt_after,
        draws,
        occurred_at,
        reason,
        actor,
        reservation_id,
        settlement,
        change,
        moves,
        head,
    } = entry;
    let plain = *kind == EntryKind::Usage && reason.is_empty() && actor.is_empty();
    let (true, None) = (plain, change) else {
        return None;
    };
    let mut json = Json(String::with_capacity(USUAL_BYTES));
    json.text("{\"account_id\":", account_id.as_str())?;
    json.number(",\"sequence\":", *sequence);
    json.text(",\"kind\":", kind.name())?;
    json.signed(",\"credits\":", *credits);
    json.number(",\"available_after\":", *available_after);
    json.number(",\"debt_after\":", *debt_after);
    if !draws.is_empty() {
        json.list(",\"draws\":", draws, Json::draw)?;
    }
    json.signed(",\"occurred_at\":", occurred_at.millis());
    if let Some(id) = reservation_id {
        json.text(",\"reservation_id\":", id.as_str())?;
    }
    if let Some(settlement) = settlement {
        json.settlement(",\"settlement\":", settlement)?;
    }
    if !moves.is_empty() {
        json.list(",\"moves\":", moves, Json::moved)?;
    }
    json.head(",\"head\":", head)?;
    json.raw("}");
    Some(json.0)
}

/// JSON so far. Whatever is appended starts with what stands before it.
struct Json(String);

impl Json {
    fn raw(&mut self, raw: &str) {
        self.0.push_str(raw);
    }

    fn text(&mut self, before: &str, text: &str) -> Option<()> {
        let needs_escape = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
        if text.bytes().any(needs_escape) {
            return None;
        }
        self.raw(before);
        self.raw("\"");
        self.raw(text);
        self.raw("\"");
        Some(())
    }

    fn number(&mut self, before: &str, number: u64) {
        let mut digits = [0; DIGITS_MAX];
        let mut start = DIGITS_MAX;
        let mut left = number;
        loop {
            start -= 1;
            digits[start] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.raw(before);
        self.raw(std::str::from_utf8(&digits[start..]).unwrap_or_default());
    }

    fn signed(&mut self, before: &str, number: i64) {
        self.raw(before);
        let sign = if number < 0 { "-" } else { "" };
        self.number(sign, number.unsigned_abs());
    }

    fn flag(&mut self, before: &str, flag: bool) {
        self.raw(before);
        self.raw(if flag { "true" } else { "false" });
    }

    fn list<T>(
        &mut self,
        before: &str,
        items: &[T],
        put: fn(&mut Json, &T) -> Option<()>,
    ) -> Option<()> {
        self.raw(before);
        self.raw("[");
        for (place, item) in items.iter().enumerate() {
            if place > 0 {
                self.raw(",");
            }
            put(self, item)?;
        }
        self.raw("]");
        Some(())
    }

    fn draw(&mut self, draw: &Draw) -> Option<()> {
        let Draw { grant_id, credits } = draw;
        self.text("{\"grant_id\":", grant_id.as_str())?;
        self.number(",\"credits\":", *credits);
        self.raw("}");
        Some(())
    }

    fn moved(&mut self, moved: &GrantMove) -> Option<()> {
        let GrantMove {
            grant_id,
            amount,
            used,
            expired,
            voided_at,
            made,
        } = moved;
        if made.is_some() {
            return None;
        }
        self.text("{\"grant_id\":", grant_id.as_str())?;
        let sums = [
            (",\"amount\":", amount),
            (",\"used\":", used),
            (",\"expired\":", expired),
        ];
        for (before, sum) in sums.into_iter().filter(|(_, sum)| **sum != 0) {
            self.signed(before, *sum);
        }
        if let Some(at) = voided_at {
            self.signed(",\"voided_at\":", at.millis());
        }
        self.raw("}");
        Some(())
    }

    fn settlement(&mut self, before: &str, settlement: &Settlement) -> Option<()> {
        let Settlement {
            commit,
            last,
            action,
            amount,
            outcome,
            held_before,
            receipt,
        } = settlement;
        self.raw(before);
        self.number("{\"commit\":", u64::from(*commit));
        self.flag(",\"last\":", *last);
        self.action(",\"action\":", action)?;
        self.amount(",\"amount\":", amount)?;
        self.text(",\"outcome\":", outcome.name())?;
        self.number(",\"held_before\":", *held_before);
        self.receipt(",\"receipt\":", receipt)?;
        self.raw("}");
        Some(())
    }

    fn action(&mut self, before: &str, action: &Action) -> Option<()> {
        let Action {
            mode,
            model,
            conversation_id,
            labels,
        } = action;
        self.raw(before);
        self.text("{\"mode\":", mode)?;
        if !model.is_empty() {
            self.text(",\"model\":", model)?;
        }
        if !conversation_id.is_empty() {
            self.text(",\"conversation_id\":", conversation_id)?;
        }
        if !labels.is_empty() {
            self.raw(",\"labels\":");
            for (place, (key, value)) in labels.iter().enumerate() {
                self.text(if place == 0 { "{" } else { "," }, key)?;
                self.text(":", value)?;
            }
            self.raw("}");
        }
        self.raw("}");
        Some(())
    }

    fn amount(&mut self, before: &str, amount: &Amount) -> Option<()> {
        self.raw(before);
        match amount {
            Amount::Usage(usage) => self.usage("{\"usage\":", usage)?,
            Amount::Credits(credits) => self.number("{\"credits\":", credits.get()),
        }
        self.raw("}");
        Some(())
    }

    fn usage(&mut self, before: &str, usage: &Usage) -> Option<()> {
        self.raw(before);
        self.raw("{");
        for (place, (meter, quantity)) in usage.iter().enumerate() {
            self.text(if place == 0 { "" } else { "," }, meter)?;
            self.number(":", quantity);
        }
        self.raw("}");
        Some(())
    }

    fn receipt(&mut self, before: &str, receipt: &Receipt) -> Option<()> {
        let Receipt {
            credits,
            corrected,
            price,
            returned,
            overage,
            debt_added,
            written_off,
            draws,
            late,
            sequence,
        } = receipt;
        self.raw(before);
        self.number("{\"credits\":", *credits);
        self.number(",\"corrected\":", *corrected);
        match price {
            Some(price) => self.price(",\"price\":", price)?,
            None => self.raw(",\"price\":null"),
        }
        self.number(",\"returned\":", *returned);
        self.number(",\"overage\":", *overage);
        self.number(",\"debt_added\":", *debt_added);
        self.number(",\"written_off\":", *written_off);
        self.list(",\"draws\":", draws, Json::draw)?;
        self.flag(",\"late\":", *late);
        self.number(",\"sequence\":", *sequence);
        self.raw("}");
        Some(())
    }

    fn price(&mut self, before: &str, price: &Price) -> Option<()> {
        let Price {
            credits,
            rate_card_version,
            tier,
            items,
            subtotal,
            multiplier,
            exact,
        } = price;
        self.raw(before);
        self.number("{\"credits\":", *credits);
        self.text(",\"rate_card_version\":", rate_card_version)?;
        self.text(",\"tier\":", tier)?;
        self.list(",\"items\":", items, Json::item)?;
        self.text(",\"subtotal\":", DecimalText::new(*subtotal).as_str())?;
        self.text(",\"multiplier\":", DecimalText::new(*multiplier).as_str())?;
        self.text(",\"exact\":", DecimalText::new(*exact).as_str())?;
        self.raw("}");
        Some(())
    }

    fn item(&mut self, item: &LineItem) -> Option<()> {
        let LineItem {
            meter,
            quantity,
            rate,
            amount,
        } = item;
        self.text("{\"meter\":", meter)?;
        self.number(",\"quantity\":", *quantity);
        self.text(",\"rate\":", DecimalText::new(*rate).as_str())?;
        self.text(",\"amount\":", DecimalText::new(*amount).as_str())?;
        self.raw("}");
        Some(())
    }

    fn head(&mut self, before: &str, head: &AccountHead) -> Option<()> {
        let AccountHead {
            status,
            plan,
            next_plan,
            overage,
            anchor,
            cycle,
            debt,
            applied_change,
        } = head;
        let Cycle { index, start, end } = cycle;
        self.raw(before);
        self.text("{\"status\":", status.name())?;
        self.plan(",\"plan\":", plan)?;
        if let Some(next) = next_plan {
            self.plan(",\"next_plan\":", next)?;
        }
        self.text(",\"overage\":", overage.name())?;
        self.signed(",\"anchor\":", anchor.millis());
        self.number(",\"cycle\":{\"index\":", u64::from(*index));
        self.signed(",\"start\":", start.millis());
        self.signed(",\"end\":", end.millis());
        self.number("},\"debt\":", *debt);
        self.number(",\"applied_change\":", *applied_change);
        self.raw("}");
        Some(())
    }

    fn plan(&mut self, before: &str, plan: &PlanTerm) -> Option<()> {
        let PlanTerm { id, allowance } = plan;
        self.raw(before);
        self.text("{\"id\":", id.as_str())?;
        self.number(",\"allowance\":", *allowance);
        self.raw("}");
        Some(())
    }
}

#[cfg(test)]
mod tests;
