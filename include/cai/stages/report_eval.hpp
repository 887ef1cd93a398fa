// What an evaluation measured, on the report's page.
#pragma once

#include "cai/io/json.hpp"
#include "cai/stages/report_page.hpp"

namespace cai {

/// `eval`: figures of the stage; nothing is added without measures.
void report_eval(Page& page, const Json& eval);

}  // namespace cai
