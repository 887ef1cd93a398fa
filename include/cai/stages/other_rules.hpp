// Whether the constitution matters: a run's held-out answers by the checks of other constitutions.
#pragma once

#include <cstdint>
#include <vector>

#include "cai/data/constitution.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// The records of an eval, scored by this constitution's checks instead: {constitution, version, sha256,
/// prompts, mean {model: interval}, mean_differences and mean_last_step as in the eval's figures, and what
/// add_followed adds}. No model is asked. Tests and suites are left out; a prompt that no checked principle
/// applies to counts in nothing. Throws InputError where no principle with a check applies to any prompt.
Json followed_under(const Constitution& constitution, const std::vector<Json>& eval_records, long samples,
                    std::uint64_t seed);

/// The same principles for other prompts: each principle with a check gets the `applies_to` of another one. A
/// rule that is followed wherever it is asked for, and nowhere else, loses by this. Throws InputError where
/// all of them apply to the same prompts.
Constitution shuffled(Constitution constitution);

}  // namespace cai
