// The page of cai review --web: one file, no outside resource.
#pragma once

namespace cai {

extern const char* const kReviewPage;

}  // namespace cai
