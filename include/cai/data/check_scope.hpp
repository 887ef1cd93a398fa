// What a check is about: which requests, and whether it wants them declined.
#pragma once

#include <string_view>

#include "cai/data/answer_check.hpp"

namespace cai {

/// False where every rule of the check holds for some requests only (if_request), and this is none of them:
/// no answer to it could break the check.
bool bears_on(const AnswerCheck& check, std::string_view request);

/// Whether one of its rules asks the answer to decline the request.
bool wants_refusal(const AnswerCheck& check);

}  // namespace cai
