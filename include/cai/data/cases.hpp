// Cases: prompts on which a model once failed, kept beside the constitution so that every later eval asks
// them again.
#pragma once

#include <filesystem>
#include <vector>

#include "cai/data/constitution.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// Adds failures of eval (prompt records with `failure`) to a JSONL file of prompts, each with split held-out
/// and what found it: `constitution` (name and version). A prompt that the file holds already, and one of the
/// constitution's own tests, is not added again. The file is replaced atomically; its lines keep their order.
/// Returns how many were added. Throws InputError when the file holds something else.
long add_failures(const std::filesystem::path& file, const std::vector<Json>& failures,
                  const Constitution& constitution);

}  // namespace cai
