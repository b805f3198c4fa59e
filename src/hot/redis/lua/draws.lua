-- Draws are flat: {grant, credits, grant, credits, …}.
function book.sum_draws(draws)
  local sum = 0
  for i = 2, #draws, 2 do sum = sum + draws[i] end
  return sum
end

function book.add_draw(draws, id, credits)
  if credits == 0 then return end
  for i = 1, #draws, 2 do
    if draws[i] == id then
      draws[i + 1] = draws[i + 1] + credits
      return
    end
  end
  draws[#draws + 1] = id
  draws[#draws + 1] = credits
end
