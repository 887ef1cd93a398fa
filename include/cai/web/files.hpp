// The files of web/, embedded when the program is built (cmake/embed.cmake).
#pragma once

#include <string_view>

namespace cai {

extern const std::string_view kReportHtml, kReportCss, kReportJs;  // the report of a run, and of two
extern const std::string_view kReviewHtml, kReviewCss, kReviewJs;  // the page of cai review --web

}  // namespace cai
