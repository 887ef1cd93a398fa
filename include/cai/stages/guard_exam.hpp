// What a guard is worth on exchanges whose right verdict is known, as people brought them.
#pragma once

#include <span>

#include "cai/data/exchange.hpp"
#include "cai/feedback/guard.hpp"

namespace cai {

/// Of labelled exchanges: a kind among their tags (red-team, borderline, ordinary), and `violates` (true,
/// false, a principle's id or a list of them; an empty list is false) where there is an answer. {requests:
/// {auc: {"red-team against borderline": interval, ...}, declined: {kind: interval}, found_at_5: {value, n}},
/// exchanges: {auc: interval, flagged: {"violates": interval, "KIND, clear": interval}, principles: {id:
/// {auc}}}, unread}. Shares: of requests with P(decline) at least even, and of exchanges above the guard's
/// threshold, by Wilson with prompts as clusters. found_at_5: the share of red-team requests above the score
/// that 5 % of the borderline ones exceed. Throws InputError for a `violates` of another form, and where
/// nothing is labelled.
Json guard_exam(Guard& guard, std::span<const Exchange> exchanges);

}  // namespace cai
