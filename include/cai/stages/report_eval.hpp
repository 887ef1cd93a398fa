// What an evaluation measured, as tables.
#pragma once

#include <string>
#include <vector>

#include "cai/io/json.hpp"
#include "cai/stages/report_page.hpp"

namespace cai {

/// The names of the evaluated models, the first one being what the others are compared with.
std::vector<std::string> models_of(const Json& eval);

/// All measures with their tests, folded.
void report_measures(Page& page, const Json& eval);

/// Suites, topics, win rates and signs of collapse; nothing where none was measured.
void report_suites(Page& page, const Json& eval);

}  // namespace cai
