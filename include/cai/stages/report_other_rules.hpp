// The report's section on other constitutions.
#pragma once

#include "cai/stages/report_run.hpp"

namespace cai {

/// What `cai report --also` found (facts["also"], of followed_under); nothing where it was not asked.
void report_other_rules(Page& page, const ReportRun& run);

}  // namespace cai
