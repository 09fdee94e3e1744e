// RUN: attnc-opt %s --allow-unregistered-dialect --verify-diagnostics --parsing-diagnostics --split-input-file | filecheck %s

// CHECK: 3 query heads do not share 2 key heads
%q, %k = "test.op"() : () -> (tensor<1x3x4x8xf32>, tensor<1x2x4x8xf32>)
%0 = sattn.attention q %q k %k v %k scale 1.0 : (tensor<1x3x4x8xf32>, tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>) -> tensor<1x3x4x8xf32>

// -----

// CHECK: k is 1x2x4x8, expected 1x2x5x8
%q, %k, %v = "test.op"() : () -> (tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>, tensor<1x2x5x8xf32>)
%0 = sattn.attention q %q k %k v %v scale 1.0 : (tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>, tensor<1x2x5x8xf32>) -> tensor<1x2x4x8xf32>

// -----

// CHECK: mask 3x4 does not stretch to 1x2x4x4
%q, %m = "test.op"() : () -> (tensor<1x2x4x8xf32>, tensor<3x4xf32>)
%0 = sattn.attention q %q k %q v %q mask %m : tensor<3x4xf32> scale 1.0 : (tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>) -> tensor<1x2x4x8xf32>

// -----

// CHECK: q_scale and k_scale come with int8 q and k, and only with them
%q = "test.op"() : () -> tensor<1x2x4x8xi8>
%0 = sattn.attention q %q k %q v %q scale 1.0 : (tensor<1x2x4x8xi8>, tensor<1x2x4x8xi8>, tensor<1x2x4x8xi8>) -> tensor<1x2x4x8xf32>

// -----

// CHECK: a fill of -inf makes no row uniform
%q, %m = "test.op"() : () -> (tensor<1x2x4x8xf32>, tensor<4x4xi1>)
%0 = sattn.attention q %q k %q v %q mask %m : tensor<4x4xi1> scale 1.0 empty_row uniform : (tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>) -> tensor<1x2x4x8xf32>

// -----

// CHECK: q has the axes [batch, heads, rows, width]
%q = "test.op"() : () -> tensor<2x4x8xf32>
%0 = sattn.attention q %q k %q v %q scale 1.0 : (tensor<2x4x8xf32>, tensor<2x4x8xf32>, tensor<2x4x8xf32>) -> tensor<2x4x8xf32>

// -----

// CHECK: p_zero_point and v_offset come with p_scale only
%q, %s = "test.op"() : () -> (tensor<1x2x4x8xi8>, tensor<1x1x1x1xf32>)
%0 = sattn.attention q %q k %q v %q q_scale %s : tensor<1x1x1x1xf32> k_scale %s : tensor<1x1x1x1xf32> v_scale %s : tensor<1x1x1x1xf32> p_zero_point 3 scale 1.0 : (tensor<1x2x4x8xi8>, tensor<1x2x4x8xi8>, tensor<1x2x4x8xi8>) -> tensor<1x2x4x8xf32>

// -----

// CHECK: a zero point of 200 is no int8
%q, %s = "test.op"() : () -> (tensor<1x2x4x8xi8>, tensor<1x1x1x1xf32>)
%0 = sattn.attention q %q k %q v %q q_scale %s : tensor<1x1x1x1xf32> k_scale %s : tensor<1x1x1x1xf32> v_scale %s : tensor<1x1x1x1xf32> p_scale %s : tensor<1x1x1x1xf32> p_zero_point 200 scale 1.0 : (tensor<1x2x4x8xi8>, tensor<1x2x4x8xi8>, tensor<1x2x4x8xi8>) -> tensor<1x2x4x8xf32>

// -----

// CHECK: key_block comes with int8 v without p_scale and p_thresholds only
%q = "test.op"() : () -> tensor<1x2x4x8xf32>
%0 = sattn.attention q %q k %q v %q key_block 2 scale 1.0 : (tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>) -> tensor<1x2x4x8xf32>

// -----

// CHECK: q_offset and k_offset come with int8 q and k only
%q, %o = "test.op"() : () -> (tensor<1x2x4x8xf32>, tensor<1x2x4x1xi32>)
%0 = sattn.attention q %q k %q v %q q_offset %o : tensor<1x2x4x1xi32> scale 1.0 : (tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>) -> tensor<1x2x4x8xf32>

// -----

// CHECK: there is no attention form 'wimdow'
%q = "test.op"() : () -> tensor<1x2x4x8xf32>
%0 = sattn.attention q %q k %q v %q form "wimdow:3" scale 1.0 : (tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>) -> tensor<1x2x4x8xf32>

// -----

// CHECK: 3 forms for 2 heads
%q = "test.op"() : () -> tensor<1x2x4x8xf32>
%0 = sattn.attention q %q k %q v %q form ["dense", "dense", "causal"] scale 1.0 : (tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>) -> tensor<1x2x4x8xf32>

// -----

// CHECK: attention form 'global:9': its tokens end at 9, and there are 4 keys
%q = "test.op"() : () -> tensor<1x2x4x8xf32>
%0 = sattn.attention q %q k %q v %q form "global:9" scale 1.0 : (tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>) -> tensor<1x2x4x8xf32>

// -----

// CHECK: the operand `pattern` comes with the form bitmap, and only with it
%q = "test.op"() : () -> tensor<1x2x4x8xf32>
%0 = sattn.attention q %q k %q v %q form "bitmap" scale 1.0 : (tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>) -> tensor<1x2x4x8xf32>

// -----

// CHECK: v_zero_point comes with p_scale or p_thresholds only
%q, %s = "test.op"() : () -> (tensor<1x2x4x8xi8>, tensor<1x1x1x1xf32>)
%0 = sattn.attention q %q k %q v %q q_scale %s : tensor<1x1x1x1xf32> k_scale %s : tensor<1x1x1x1xf32> v_scale %s : tensor<1x1x1x1xf32> v_zero_point 3 scale 1.0 : (tensor<1x2x4x8xi8>, tensor<1x2x4x8xi8>, tensor<1x2x4x8xi8>) -> tensor<1x2x4x8xf32>

// -----

// CHECK: levels are made by p_scale or by p_thresholds
%q, %s = "test.op"() : () -> (tensor<1x2x4x8xi8>, tensor<1x1x1x1xf32>)
%0 = sattn.attention q %q k %q v %q q_scale %s : tensor<1x1x1x1xf32> k_scale %s : tensor<1x1x1x1xf32> v_scale %s : tensor<1x1x1x1xf32> p_scale %s : tensor<1x1x1x1xf32> p_thresholds %s : tensor<1x1x1x1xf32> p_levels 1 scale 1.0 : (tensor<1x2x4x8xi8>, tensor<1x2x4x8xi8>, tensor<1x2x4x8xi8>) -> tensor<1x2x4x8xf32>

// -----

// CHECK: 2 p_levels need so many p_thresholds along their last axis
%q, %s = "test.op"() : () -> (tensor<1x2x4x8xi8>, tensor<1x1x1x1xf32>)
%0 = sattn.attention q %q k %q v %q q_scale %s : tensor<1x1x1x1xf32> k_scale %s : tensor<1x1x1x1xf32> v_scale %s : tensor<1x1x1x1xf32> p_thresholds %s : tensor<1x1x1x1xf32> p_levels 2 scale 1.0 : (tensor<1x2x4x8xi8>, tensor<1x2x4x8xi8>, tensor<1x2x4x8xi8>) -> tensor<1x2x4x8xf32>

// -----

// CHECK: 200 p_levels: 1 to 127 come with p_scale or p_thresholds, and no zero point
%q, %s = "test.op"() : () -> (tensor<1x2x4x8xi8>, tensor<1x1x1x1xf32>)
%0 = sattn.attention q %q k %q v %q q_scale %s : tensor<1x1x1x1xf32> k_scale %s : tensor<1x1x1x1xf32> v_scale %s : tensor<1x1x1x1xf32> p_scale %s : tensor<1x1x1x1xf32> p_levels 200 scale 1.0 : (tensor<1x2x4x8xi8>, tensor<1x2x4x8xi8>, tensor<1x2x4x8xi8>) -> tensor<1x2x4x8xf32>

// -----

// CHECK: weights scores come with p_thresholds
%q, %s = "test.op"() : () -> (tensor<1x2x4x8xi8>, tensor<1x1x1x1xf32>)
%0 = sattn.attention q %q k %q v %q q_scale %s : tensor<1x1x1x1xf32> k_scale %s : tensor<1x1x1x1xf32> v_scale %s : tensor<1x1x1x1xf32> p_scale %s : tensor<1x1x1x1xf32> weights scores scale 1.0 : (tensor<1x2x4x8xi8>, tensor<1x2x4x8xi8>, tensor<1x2x4x8xi8>) -> tensor<1x2x4x8xf32>

// -----

// CHECK: importance does not go with levels of probabilities that the model fixes
%q, %s = "test.op"() : () -> (tensor<1x2x4x8xi8>, tensor<1x1x1x1xf32>)
%0, %1 = sattn.attention q %q k %q v %q q_scale %s : tensor<1x1x1x1xf32> k_scale %s : tensor<1x1x1x1xf32> v_scale %s : tensor<1x1x1x1xf32> p_scale %s : tensor<1x1x1x1xf32> scale 1.0 : (tensor<1x2x4x8xi8>, tensor<1x2x4x8xi8>, tensor<1x2x4x8xi8>) -> tensor<1x2x4x8xf32> importance tensor<1x4xf32>

// -----

// CHECK: importance is 4, not one of 1x4
%q = "test.op"() : () -> tensor<1x2x4x8xf32>
%0, %1 = sattn.attention q %q k %q v %q scale 1.0 : (tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>) -> tensor<1x2x4x8xf32> importance tensor<4xf32>

// -----

// CHECK: the form progressive does not go with queries and keys that are not int8 (--precision int8 makes them so)
%q = "test.op"() : () -> tensor<1x2x4x8xf32>
%0 = sattn.attention q %q k %q v %q form "progressive" scale 1.0 : (tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>) -> tensor<1x2x4x8xf32>
