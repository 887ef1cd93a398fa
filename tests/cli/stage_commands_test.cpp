#include <gtest/gtest.h>

#include "cai/cli/commands.hpp"
#include "cai/pipeline/stage_kinds.hpp"

namespace cai {
namespace {

TEST(StageCommands, AreThereForEveryStage) {
  for (const StageKind& kind : stage_kinds())
    EXPECT_TRUE(is_stage_command(kind.name)) << kind.name;
  EXPECT_TRUE(is_stage_command("score"));
  EXPECT_FALSE(is_stage_command("train"));
}

}  // namespace
}  // namespace cai
