// The page of cai review --web. Text from models and prompts enters as textContent only.
#include "cai/cli/review_page.hpp"

namespace cai {

const char* const kReviewPage = R"HTML(<!doctype html>
<html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width,initial-scale=1"><meta name=referrer content=no-referrer>
<link rel=icon href="data:,"><title>cai review</title>
<style>
:root{color-scheme:light dark;--ink:#1c1e21;--soft:#5d6470;--line:#d0d5dc;--page:#fff;--card:#f6f7f9;--a:#1a62d6;--good:#1a7f37;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#a9b0bb;--line:#3f454e;--page:#15171a;--card:#1e2126;--a:#7ab0ff;--good:#6fd086;--bad:#ff8a80}}
*{box-sizing:border-box}body{margin:0 auto;max-width:72rem;padding:1rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page)}
header{display:flex;flex-wrap:wrap;gap:.3rem 1rem;align-items:baseline;justify-content:space-between}h1{font-size:1.15rem;margin:0}
.soft{color:var(--soft);font-size:.9rem}progress{width:100%;height:.5rem;accent-color:var(--a)}
#prompt{font-size:1.1rem;margin:.9rem 0 .5rem;overflow-wrap:anywhere;white-space:pre-wrap}
#why span{display:inline-block;border:1px solid var(--line);border-radius:1rem;padding:.05rem .6rem;margin:.1rem .3rem .1rem 0;font-size:.82rem;color:var(--soft)}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:.8rem;margin:.8rem 0}
.card{background:var(--card);border:2px solid var(--line);border-radius:.6rem;padding:.7rem .9rem;overflow-wrap:anywhere;white-space:pre-wrap;min-height:6rem;max-height:55vh;overflow-y:auto}
.card.chosen{border-color:var(--good)}.card b{display:block;color:var(--soft);font-size:.8rem;margin-bottom:.2rem}
.keys{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.5rem}
button{font:inherit;color:var(--ink);background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.6rem;min-height:2.9rem;cursor:pointer}
#own{width:100%;min-height:7rem;font:inherit;color:var(--ink);background:var(--page);border:2px solid var(--line);border-radius:.6rem;padding:.7rem .9rem;resize:vertical}
button:focus-visible,#own:focus-visible{outline:3px solid var(--a);outline-offset:1px}button:disabled{opacity:.5}kbd{font:.8rem ui-monospace,monospace;color:var(--soft);border:1px solid var(--line);border-radius:.25rem;padding:0 .3rem;margin-left:.3rem}
#status{min-height:1.6rem;margin:.6rem 0}.bad{color:var(--bad)}.good{color:var(--good)}#details{white-space:pre-wrap;overflow-wrap:anywhere;border-left:3px solid var(--line);padding-left:.8rem;margin-top:.6rem;font-size:.92rem}
@media(max-width:640px){body{padding:.7rem}.pair{grid-template-columns:1fr;gap:.5rem}.card{min-height:0;max-height:32vh}kbd{display:none}.keys{grid-template-columns:1fr 1fr}#main .keys{position:sticky;bottom:0;background:var(--page);padding:.4rem 0}}
</style>
<header><h1>Which answer is better?</h1><span class=soft id=count></span></header>
<progress id=bar value=0 max=1 aria-label="decided"></progress>
<main id=main><div id=prompt></div><div id=why></div>
<div class=pair><section class=card id=a tabindex=0 aria-label="answer A"><b>Answer A</b><span></span></section><section class=card id=b tabindex=0 aria-label="answer B"><b>Answer B</b><span></span></section></div>
<div class=keys><button data-verdict=a>A is better<kbd>a</kbd></button><button data-verdict=b>B is better<kbd>b</kbd></button><button data-verdict=equal>Equal<kbd>e</kbd></button><button data-verdict=skip>Skip<kbd>s</kbd></button><button id=write>Write mine<kbd>w</kbd></button><button id=back>Back<kbd>u</kbd></button><button id=more>The AI's view<kbd>d</kbd></button></div></main>
<div id=editor hidden><p><label for=own>Your answer, better than both:</label></p><textarea id=own></textarea><div class=keys><button id=save>Save it<kbd>Ctrl Enter</kbd></button><button id=leave>Leave it<kbd>Esc</kbd></button></div></div>
<div id=status role=status aria-live=polite></div><div id=details hidden></div>
<p class=soft>A decision is on disk when it says "saved". Close the page whenever you like. The same command continues where you stopped. The AI's view is hidden until you ask for it, so that it does not bias you.</p>
<script>
"use strict";
const token=new URLSearchParams(location.search).get("token"),$=id=>document.getElementById(id);
let items=[],at=0,busy=false;
const ask=(path,body)=>fetch(path,{method:body?"POST":"GET",headers:{"X-Token":token,"Content-Type":"application/json"},body:body?JSON.stringify(body):undefined,cache:"no-store"});
const say=(text,kind)=>{$("status").textContent=text;$("status").className=kind||""};
const decided=()=>items.filter(i=>i.verdict).length;
function show(){
  $("count").textContent=decided()+" of "+items.length+" decided";$("bar").max=Math.max(1,items.length);$("bar").value=decided();
  $("details").hidden=$("editor").hidden=true;
  if(at>=items.length){$("prompt").textContent=items.length?"All done. You can close this page and stop the command.":"No label in this run needs review (--all shows every label).";$("why").replaceChildren();document.querySelector(".pair").hidden=true;return}
  document.querySelector(".pair").hidden=false;const i=items[at];
  $("prompt").textContent=i.prompt;$("why").replaceChildren(...i.why.map(w=>{const s=document.createElement("span");s.textContent=w;return s}));
  for(const side of["a","b"]){$(side).querySelector("span").textContent=i[side];$(side).classList.toggle("chosen",i.verdict===side||i.verdict==="equal");$(side).scrollTop=0}
  $("details").textContent=i.details;
}
async function decide(verdict,edited){
  if(busy||at>=items.length)return;busy=true;say("saving ...");const i=items[at];
  try{const reply=await ask("/decide",{number:i.number,verdict,edited});if(!reply.ok)throw new Error(await reply.text());
    i.verdict=verdict;i.edited=edited||"";say("saved: "+(verdict==="edit"?"your answer":verdict==="a"||verdict==="b"?verdict.toUpperCase()+" is better":verdict),"good");
    at++;while(at<items.length&&items[at].verdict)at++;show();
  }catch(error){say("NOT saved: "+error.message,"bad")}
  busy=false;
}
function back(){if(at>0){at--;say(items[at].verdict?"decided before: "+items[at].verdict+"; decide again to change it":"");show()}}
function write(){
  if(at>=items.length)return;const i=items[at];
  $("editor").hidden=false;$("own").value=i.edited||(i.verdict==="b"?i.b:i.a);$("own").focus();
}
const leave=()=>{$("editor").hidden=true;$("write").focus()};
const details=()=>{if(at<items.length)$("details").hidden=!$("details").hidden};
for(const b of document.querySelectorAll("[data-verdict]"))b.onclick=()=>decide(b.dataset.verdict);
$("write").onclick=write;$("save").onclick=()=>decide("edit",$("own").value);$("leave").onclick=leave;$("back").onclick=back;$("more").onclick=details;
addEventListener("keydown",e=>{
  if(!$("editor").hidden&&!e.isComposing){if(e.key==="Escape"){e.preventDefault();leave()}else if(e.key==="Enter"&&(e.ctrlKey||e.metaKey)){e.preventDefault();decide("edit",$("own").value)}}
  if(e.target===$("own"))return;
  if(e.ctrlKey||e.metaKey||e.altKey||e.repeat)return;
  const verdict={a:"a",1:"a",ArrowLeft:"a",b:"b",2:"b",ArrowRight:"b",e:"equal","=":"equal",s:"skip"}[e.key];
  if(verdict){e.preventDefault();decide(verdict)}else if(e.key==="u"||e.key==="Backspace"){e.preventDefault();back()}else if(e.key==="w"){e.preventDefault();write()}else if(e.key==="d")details();
});
(async()=>{try{const reply=await ask("/queue");if(!reply.ok)throw new Error(await reply.text());items=await reply.json();at=items.findIndex(i=>!i.verdict);if(at<0)at=items.length;show()}catch(error){say("cannot load: "+error.message,"bad")}})();
</script></html>
)HTML";

}  // namespace cai
