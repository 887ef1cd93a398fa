#include "cai/cli/review_page.hpp"

#include "cai/web/files.hpp"
#include "cai/web/page.hpp"

namespace cai {

std::string review_page() {
  return fill_page(kReviewHtml, {{"style", std::string(kReviewCss)},
                                 {"style_hash", policy_hash(kReviewCss)},
                                 {"script", std::string(kReviewJs)},
                                 {"script_hash", policy_hash(kReviewJs)}});
}

}  // namespace cai
