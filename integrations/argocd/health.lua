-- Health of ModelTier, GameWorld and KnowledgeBase for Argo CD, from the conditions that `kubectl wait` and Flux read.
-- Stalled: somebody must act. Anything else that is not Ready is on its way.
local health = { status = "Progressing", message = "not seen by the operator yet" }
if obj.status == nil or obj.status.conditions == nil then
  return health
end
if obj.status.observedGeneration ~= nil and obj.status.observedGeneration ~= obj.metadata.generation then
  health.message = "the last change was not acted on yet"
  return health
end
local found = {}
for _, condition in ipairs(obj.status.conditions) do
  found[condition.type] = condition
end
local function is(name)
  return found[name] ~= nil and found[name].status == "True"
end
local ready = found["Ready"]
if ready ~= nil then
  health.message = ready.message or ready.reason
end
if ready ~= nil and ready.reason == "Paused" or obj.metadata.annotations ~= nil and obj.metadata.annotations["gameai.dev/paused"] == "true" then
  health.status = "Suspended"
elseif is("Stalled") then
  health.status = "Degraded"
  health.message = found["Stalled"].message
elseif is("Degraded") then
  health.status = "Degraded"
  health.message = found["Degraded"].message
elseif is("Reconciling") then
  health.status = "Progressing"
  health.message = found["Reconciling"].message
elseif is("Ready") then
  -- A hibernated world too: that is what its manifest says, and a sync wave must not wait for it.
  health.status = "Healthy"
elseif ready ~= nil and ready.reason ~= "Starting" then
  health.status = "Degraded"
end
return health
